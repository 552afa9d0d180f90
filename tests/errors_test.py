import pytest

from mmrec_jax.errors import UserError, exit_on_user_error


@pytest.mark.parametrize(
    ("raised", "status", "line"),
    [
        (UserError("field: why"), 2, "error: field: why\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_what_a_user_causes_is_one_line_and_a_status(raised, status, line, capsys):
    with pytest.raises(SystemExit) as caught, exit_on_user_error():
        raise raised
    assert caught.value.code == status
    assert capsys.readouterr().err == line


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError), exit_on_user_error():
        raise ZeroDivisionError
