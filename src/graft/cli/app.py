"""The application that the commands register with, and the kinds of options they share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter, validators

from graft import __version__

if TYPE_CHECKING:
    from graft.core.types import Dataset

HELP = """graft 嫁接: automatic transfer learning.

Give it labelled data and a budget. It picks a pretrained model, transfers
it, checks that the transfer helped, and writes a model with a report.

    graft fit reviews.csv --label sentiment --budget 2m --out runs/reviews
    graft predict runs/reviews new.csv --out predictions.csv
    graft show runs/reviews

graft COMMAND --help explains every option.
"""

app = App(name="graft", help=HELP, version=__version__, help_format="plaintext", result_action="return_value")
app.suppress_keyboard_interrupt = app.meta.suppress_keyboard_interrupt = False  # ``main`` says how to go on
Many = Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative="", show_default=False)]
Flag = Annotated[bool, Parameter(negative="", show_default=False)]
Level = Annotated[float, Parameter(validator=validators.Number(gt=0, lt=1))]
Natural = Annotated[int, Parameter(validator=validators.Number(gte=0, lt=2**32))]
Positive = Annotated[float, Parameter(validator=validators.Number(gt=0))]
Budget = Annotated[str, Parameter(allow_leading_hyphen=True)]
typed: list[str] = []  # the arguments of this call, for the record of a run


def load_data(data: str, **options: Any) -> Dataset:
    """Load data when a command runs, not when it is defined."""
    from graft.data.load import load

    return load(data, **options)
