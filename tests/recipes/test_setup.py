"""What is installed, and `tools/setup.sh` where it cannot go on."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_without_a_usable_python_it_says_so_and_keeps_what_is_there(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    shutil.copy(ROOT / "setup.py", tmp_path)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "kept").touch()
    done = subprocess.run(
        ["bash", str(tmp_path / "tools" / "setup.sh"), "--python", "python9"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("setup: no Python 3.10 to 3.12 with venv was found at python9; install one")
    assert done.stderr.count("\n") == 1
    assert (tmp_path / ".venv" / "kept").exists()


def test_a_python_is_found_from_where_the_user_is_and_a_copied_environment_is_not_used(tmp_path: Path) -> None:
    project = tmp_path / "a copy"
    shutil.copytree(ROOT / "tools", project / "tools")
    shutil.copy(ROOT / "setup.py", project)
    (project / ".venv" / "bin").mkdir(parents=True)
    (project / ".venv" / "bin" / "activate").write_text('VIRTUAL_ENV="/of/the/original/.venv"\n')
    wanted = subprocess.run(
        "cat tools/constraints.txt setup.py | sha256sum | cut -d' ' -f1", shell=True, cwd=project, capture_output=True
    )
    (project / ".venv" / "setup.stamp").write_bytes(wanted.stdout)
    own = project / ".venv" / "bin" / "speechssl"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    python = tmp_path / "my pythons" / "python3.11"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\necho "$@" >>"{tmp_path}/calls"\n')
    python.chmod(0o755)
    script, path = project / "tools" / "setup.sh", f"{python.parent}:/usr/bin:/bin"
    for options in ([], ["--python", "my pythons/python3.11"]):
        (tmp_path / "calls").unlink(missing_ok=True)
        done = subprocess.run(["bash", str(script), *options], cwd=tmp_path, env={"PATH": path}, capture_output=True)
        assert b"up to date" not in done.stdout
        assert "-m venv --clear .venv" in (tmp_path / "calls").read_text()


def test_on_another_kind_of_machine_it_says_so_at_once(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    for name, answer, shown in (
        ("uname", "echo Linux aarch64", "this is Linux aarch64 with"),
        ("getconf", "echo glibc 2.17", "x86_64 with glibc 2.17"),
        ("getconf", "exit 1", "x86_64 with another C library"),
    ):
        tool = tmp_path / name / name
        tool.parent.mkdir(exist_ok=True)
        tool.write_text(f"#!/bin/sh\n{answer}\n")
        tool.chmod(0o755)
        path = {"PATH": f"{tool.parent}:/usr/bin:/bin"}
        script = ["bash", str(tmp_path / "tools" / "setup.sh")]
        done = subprocess.run(script, env=path, capture_output=True, text=True, check=False)
        assert done.returncode == 1 and done.stderr.count("\n") == 1
        assert done.stderr.startswith("setup: the stack runs on Linux on x86-64") and shown in done.stderr


def test_an_environment_with_a_python_that_the_stack_does_not_take_is_made_anew(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    shutil.copy(ROOT / "setup.py", tmp_path)
    here = tmp_path / ".venv" / "bin"
    here.mkdir(parents=True)
    (here / "activate").write_text(f"VIRTUAL_ENV={tmp_path.resolve()}/.venv\n")
    unsupported, supported = here / "python", tmp_path / "bin" / "python3.11"
    supported.parent.mkdir()
    unsupported.write_text('#!/bin/sh\ncase "$*" in *version_info*) exit 1 ;; esac\n')
    supported.write_text(f'#!/bin/sh\necho "$@" >>"{tmp_path}/calls"\n')
    for python in (unsupported, supported):
        python.chmod(0o755)
    path = {"PATH": f"{supported.parent}:/usr/bin:/bin"}
    subprocess.run(["bash", str(tmp_path / "tools" / "setup.sh")], env=path, capture_output=True, check=False)
    assert "-m venv --clear .venv" in (tmp_path / "calls").read_text()


def imported(file: Path) -> set[str]:
    """Return the packages that a module imports, anywhere in it, beside Python's own."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            modules |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module)
    return {module.split(".")[0] for module in modules} - {"speechssl", *sys.stdlib_module_names}


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def named_by_setup() -> set[str]:
    """Return the packages of all extras."""
    lists = [node.value for node in ast.parse((ROOT / "setup.py").read_text()).body if isinstance(node, ast.Assign)]
    values = [item.value for found in lists if isinstance(found, ast.List) for item in found.elts]
    return {normalised(re.split(r"[<>=]", value)[0]) for value in values}


def test_what_the_package_imports_is_named_and_its_version_fixed() -> None:
    names = {name for file in (ROOT / "speechssl").rglob("*.py") for name in imported(file)}
    providers = packages_distributions()
    # Of an extra that is not installed the package is not known.
    needed = {normalised(package) for name in names for package in providers.get(name, [])}
    assert needed - named_by_setup() == set()
    fixed = {line.split("==")[0] for line in (ROOT / "tools/constraints.txt").read_text().splitlines()}
    assert named_by_setup() - set(map(normalised, fixed)) == set()
