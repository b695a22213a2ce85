import inspect

import pytest

from graft.core import errors

ALL = [e for _, e in inspect.getmembers(errors, inspect.isclass) if issubclass(e, errors.GraftError)]


@pytest.mark.parametrize("error", ALL)
def test_every_error_is_one_line_with_place_and_cure(error):
    raised = error("it\nbroke   twice", where="rows.csv, line 3", hint="mend it")
    assert str(raised) == "it broke twice [rows.csv, line 3]; mend it"
    assert (raised.what, raised.where, raised.hint) == ("it\nbroke   twice", "rows.csv, line 3", "mend it")
    assert str(error("alone")) == "alone"
    assert f"{error.__name__} " in errors.__doc__
    assert error.exit_code in range(1, 8)


def test_exit_codes_tell_kinds_apart():
    assert errors.UnsafeSourceError.exit_code == errors.SourceError.exit_code
    codes = [e.exit_code for e in ALL if e is not errors.UnsafeSourceError]
    assert len(codes) == len(set(codes))


def test_built_in_kinds_are_kept():
    assert issubclass(errors.UsageError, ValueError)
    assert issubclass(errors.DataError, ValueError)
    assert issubclass(errors.MissingExtraError, ImportError)
    assert issubclass(errors.OutputError, OSError)
