"""Draw the plots in a process of its own (src/draw.py), on another core, while MLflow starts."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from churn.errors import UserError

# Set to 1, nothing is drawn. Pictures take half of the time of a run and change none of its
# figures: whoever runs the pipeline many times sets this.
SKIP = "CHURN_SKIP_PLOTS"

FinishDrawing = Callable[[], Path | None]


@contextmanager
def drawing() -> Iterator[FinishDrawing]:
    """Begin to draw the plot data that DVC tracks.

    Yields:
        A function that waits for the end, and returns the folder of the PNG files, or None where
        nothing is drawn. It raises a UserError if drawing failed. The folder is gone afterwards.
    """
    if os.environ.get(SKIP) == "1":
        yield lambda: None
        return

    with (
        tempfile.TemporaryDirectory() as folder,
        # Left by an error, it is waited for: then the folder goes.
        subprocess.Popen([sys.executable, "src/draw.py", folder]) as process,
    ):

        def finish() -> Path:
            if process.wait() != 0:
                raise UserError("src/draw.py failed; its message is above")
            return Path(folder)

        yield finish
