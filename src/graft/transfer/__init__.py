"""Ways to transfer, one file each."""
