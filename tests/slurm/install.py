"""Install Slurm and munge from Debian's packages, if this is Debian and we are root.

Without them the tests of this folder are skipped, each with the reason.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

PACKAGES = ("slurm-wlm", "munge")


def main() -> None:
    if shutil.which("slurmctld") and shutil.which("munged"):
        return
    if os.geteuid() or shutil.which("apt-get") is None:
        print("not installed: needs root and apt-get", file=sys.stderr)
        return
    quiet = {"DEBIAN_FRONTEND": "noninteractive", "PATH": os.environ["PATH"]}
    install = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *PACKAGES]
    for command in (install, ["apt-get", "update", "--quiet"], install):
        if subprocess.run(command, env=quiet, check=False).returncode == 0 and command == install:
            return
    print("not installed: apt-get failed", file=sys.stderr)


if __name__ == "__main__":
    main()
