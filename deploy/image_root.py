"""Copy a virtual environment and the files of the system that it needs into a new folder, the root of an image.

    python deploy/image_root.py /root-of-image /opt/daysong [PROGRAM...]

Python with its standard library, the shared libraries that `ldd` names, certificates, and what Debian records of the
packages they are from. No shell, no package manager, no pip. The `python` that runs this is the one that is copied.
"""

from __future__ import annotations

import compileall
import os
import py_compile
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

# Of the standard library: what installs or builds software, opens windows, or tests Python itself.
LEFT_OUT = (
    *("__pycache__", "site-packages", "dist-packages", "config-*", "ensurepip", "test", "tests", "lib2to3"),
    *("idlelib", "tkinter", "turtledemo", "pydoc_data", "_tkinter*.so", "_test*.so", "_ctypes_test*.so", "xx*.so"),
)
FILES = (
    *("/etc/ld.so.cache", "/etc/nsswitch.conf", "/etc/os-release", "/etc/passwd", "/etc/group", "/etc/ssl/openssl.cnf"),
    *("/etc/ssl/certs/ca-certificates.crt", "/usr/lib/ssl", "/usr/share/fonts"),
)
# Has no name in any file: glibc opens it when a thread ends.
OPENED = "libgcc_s.so.1"
FOLDERS = ("bin", "lib", "lib64")  # links to those of /usr


def copy(path: Path, root: Path) -> None:
    """Copy a file or folder to the same place under the root; links stay links, and what they lead to is copied too."""
    target = root / path.relative_to("/")
    if os.path.lexists(target) or not os.path.lexists(path):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():
        target.symlink_to(path.readlink())
        copy(path.parent / path.readlink(), root)
    elif path.is_dir():
        shutil.copytree(path, target, symlinks=True)
    else:
        shutil.copy2(path, target)


def needed(binaries: list[Path]) -> Iterator[Path]:
    """Return the shared libraries that the binaries load, and the loader. Errors: SystemExit, when one is missing."""
    listed = subprocess.run(["ldd", *binaries], capture_output=True, text=True, check=False).stdout  # noqa: S603, S607
    if missing := set(re.findall(r"(\S+) => not found", listed)):
        raise SystemExit(f"image_root: libraries are missing: {', '.join(sorted(missing))}")
    found = {Path(path) for path in re.findall(r"^\s+(?:\S+ => )?(/\S+) \(", listed, re.MULTILINE)}
    [libc] = [path for path in found if path.name == "libc.so.6"]
    yield from sorted(found | {libc.with_name(OPENED)})


def record_packages(root: Path, libraries: list[Path]) -> None:
    """Write what Debian knows of the libraries' packages where scanners of images look for it."""
    patterns = [f"*/{path.name}" for path in libraries]
    found = subprocess.run(["dpkg-query", "--search", *patterns], capture_output=True, text=True, check=False)  # noqa: S603, S607
    folder = root / "var/lib/dpkg/status.d"
    folder.mkdir(parents=True)
    for package in sorted(set(re.findall(r"^([a-z0-9.+-]+)(?::\w+)?: ", found.stdout, re.MULTILINE))):
        status = subprocess.run(["dpkg-query", "--status", package], capture_output=True, text=True, check=True)  # noqa: S603, S607
        (folder / package).write_text(status.stdout)


def main(root: Path, environment: Path, programs: list[Path]) -> None:
    """Fill the root, which must not exist yet."""
    root.mkdir(parents=True)
    for name in FOLDERS:
        if Path("/", name).is_symlink():
            (root / "usr" / name).mkdir(parents=True)
            (root / name).symlink_to(f"usr/{name}")
    python = Path(os.path.realpath(sys.executable))
    library = Path(sysconfig.get_path("stdlib"))
    copy(environment, root)
    link = environment / "bin/python"
    while environment in link.parents and link.is_symlink():
        link = link.parent / link.readlink()
    copy(Path(os.path.normpath(link)), root)
    shutil.copytree(library, root / library.relative_to("/"), ignore=shutil.ignore_patterns(*LEFT_OUT))
    for program in programs:
        shutil.copy2(program, root / "usr/bin" / program.name)
    copied = [root / environment.relative_to("/"), root / library.relative_to("/")]
    modules = [Path("/") / path.relative_to(root) for folder in copied for path in folder.rglob("*.so*")]
    libraries = [path for path in needed([python, *programs, *modules]) if environment not in path.parents]
    for path in [*libraries, *map(Path, FILES)]:
        copy(path, root)
    record_packages(root, libraries)
    # Checked by nothing at start: files of an image do not change.
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    for folder in copied:
        compileall.compile_dir(folder, stripdir=root, prependdir="/", quiet=2, workers=0, invalidation_mode=unchecked)
    (root / "tmp").mkdir(exist_ok=True)
    (root / "tmp").chmod(0o1777)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), [Path(one) for one in sys.argv[3:]])
