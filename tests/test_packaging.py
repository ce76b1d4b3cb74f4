"""What `pip install` installs is whole: a wheel works as a clone does."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_an_installed_wheel_plans_a_stage(tmp_path: Path) -> None:
    """The profile, the curriculum, the constitution and the model come with it."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)], cwd=ROOT, check=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    site, lab = tmp_path / "site", tmp_path / "lab"
    zipfile.ZipFile(wheel).extractall(site)
    environment = {**os.environ, "PYTHONPATH": str(site)}
    for arguments in (["init", str(lab)], ["-w", str(lab), "plan", "--stages", "1-6"]):
        subprocess.run(
            [sys.executable, "-P", "-m", "daemon.cli", *arguments], cwd=tmp_path, env=environment, check=True
        )
    assert len(list((lab / "tasks" / "pending").iterdir())) == 24
    assert (site / "microworld" / "weights" / "model.safetensors").stat().st_size > 5_000_000
    where = "import daemon; print(daemon.__file__)"
    ran = subprocess.run(
        [sys.executable, "-P", "-c", where], cwd=tmp_path, env=environment, check=True, capture_output=True
    )
    assert ran.stdout.decode().startswith(str(site)), "the commands above ran the clone, not the wheel"
