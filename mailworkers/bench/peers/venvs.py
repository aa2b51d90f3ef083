"""Virtual environments for peers, made on demand in a cache folder: none of it gets into ours."""

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

from mailworkers.bench.peers.peer import PeerMissing

_PATIENCE = 600  # seconds for the downloads


def cache_folder() -> Path:
    """Return where peers are installed: below XDG_CACHE_HOME, or else below ~/.cache."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    home = Path(root) if root.startswith("/") else Path.home() / ".cache"
    return home / "mailworkers" / "peers"


def install(name: str, requirements: Sequence[str], cache: Path) -> Path:
    """Return the interpreter of the environment *name*, which has just *requirements*.

    It is made anew when it was made of others; one that was interrupted is not taken for whole.
    """
    folder = cache / name
    python = folder / "bin" / "python"
    wanted = "\n".join((*requirements, sys.version, ""))
    note = folder / "requirements"
    if note.exists() and note.read_text(encoding="utf-8") == wanted and python.exists():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    try:
        venv.create(folder)
        if requirements:
            _pip_install(python, requirements)
    except (OSError, subprocess.SubprocessError) as error:
        raise PeerMissing(f"it could not be installed: {_told(error)}") from error
    note.write_text(wanted, encoding="utf-8")
    return python


def _pip_install(python: Path, requirements: Sequence[str]) -> None:
    """Install by the pip of this interpreter: making another one takes longer than its work."""
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q"]
    subprocess.run(
        [*pip, *requirements], check=True, capture_output=True, text=True, timeout=_PATIENCE
    )


def _told(error: Exception) -> str:
    """Return the last line of what pip said, or the error itself."""
    lines = (getattr(error, "stderr", None) or "").strip().splitlines()
    return lines[-1] if lines else str(error)
