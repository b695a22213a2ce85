"""Data: reading, splitting, and what text, images and tables look like; every modality is a plug-in."""
