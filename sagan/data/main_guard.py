"""Scripts that start processes which run the script anew."""

import ast
import sys
import tokenize
from types import FrameType

from sagan.config.fields import require as require_that


def require(workers: int) -> None:
    """Requires that the script being run calls this function below its main guard, if at all.

    Each of the `workers`, processes that read images, imports the script that was started. A call
    at the top of the script would be made again in each of them.

    Raises: ConfigError naming the script and the line of the call.
    """
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        place = frame.f_code.co_filename
        if frame.f_code.co_name == "<module>" and frame.f_globals.get("__name__") == "__main__":
            require_that(
                frame.f_globals.get("__file__") is None or _is_guarded(place, frame.f_lineno),
                f"{place}, line {frame.f_lineno}: the {workers} processes that read images "
                "(data.workers) run this script anew, so this call must stand below `if __name__ "
                '== "__main__":`; or set data.workers=0',
            )
        frame = frame.f_back


def _is_guarded(path: str, line: int) -> bool:
    """Returns whether a line of a script is inside a statement `if __name__ == ...` at its top."""
    try:
        with tokenize.open(path) as file:
            statements = ast.parse(file.read()).body
    except (OSError, SyntaxError, UnicodeDecodeError):
        return True  # not a script that can be read, such as a frozen program
    return any(
        isinstance(statement, ast.If)
        and statement.lineno <= line <= (statement.end_lineno or line)
        and any(isinstance(n, ast.Name) and n.id == "__name__" for n in ast.walk(statement.test))
        for statement in statements
    )
