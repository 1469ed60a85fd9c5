"""What is shipped: the wheel, the pins, the versions and the commands of the Makefile."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PACKAGES = ("aggrade", "tasks", "flows", "deployments")
OPTIONAL = {"torch"}
"""Imported only when it is asked for; without it there is an error that says so."""
PYTHONS = ("3.11.2", "3.12.0", "3.13.0")


def project():
    """Return the project table of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins():
    """Return the requirement on each line of constraints.txt."""
    return [Requirement(line) for line in (ROOT / "constraints.txt").read_text().splitlines()]


def pinned_on(python):
    """Return {name: version} as constraints.txt gives them on Linux with one Python."""
    environment = default_environment() | {
        "python_version": python.rpartition(".")[0],
        "python_full_version": python,
        "sys_platform": "linux",
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
    }
    return {
        canonicalize_name(pin.name): str(pin.specifier).removeprefix("==")
        for pin in pins()
        if pin.marker is None or pin.marker.evaluate(environment)
    }


def imports_of(path):
    """Return the top-level modules that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build the wheel with what is installed, contacting no index."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, timeout=240)
    (built,) = folder.glob("*.whl")
    return zipfile.ZipFile(built)


def test_the_wheel_holds_the_four_packages_and_nothing_else(wheel):
    """Every Python file below the four packages is in the wheel, and no file of another folder is."""
    tracked = subprocess.run(
        ["git", "ls-files", "-z", *PACKAGES], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split("\0")
    names = set(wheel.namelist())
    assert {name for name in tracked if name.endswith((".py", "py.typed"))} <= names
    assert {name.split("/")[0] for name in names} == {*PACKAGES, f"aggrade-{project()['version']}.dist-info"}


def test_the_wheel_brings_the_deployments(wheel):
    """What `python -m deployments.setup` puts into an empty folder is the project's own."""
    assert wheel.read("deployments/prefect.yaml") == (ROOT / "prefect.yaml").read_bytes()


def test_the_wheel_brings_the_command_and_the_licence(wheel):
    """The wheel declares the aggrade command and carries the licence it names."""
    info = f"aggrade-{project()['version']}.dist-info"
    assert "aggrade = flows.command_line:main" in wheel.read(f"{info}/entry_points.txt").decode()
    assert wheel.read(f"{info}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()


def test_no_file_names_an_index_host():
    """Neither the pins, the project file, the Makefile nor the build script name where packages come from."""
    for name in ("constraints.txt", "pyproject.toml", "Makefile", ".ci/run"):
        text = (ROOT / name).read_text()
        assert not re.search(r"https?://|index-url|find-links|file://", text), name


def test_every_pin_is_exact():
    """Each line of constraints.txt names one version of one package."""
    for pin in pins():
        assert re.fullmatch(r"==[^,*]+", str(pin.specifier)), str(pin)
        assert pin.url is None


@pytest.mark.parametrize("python", PYTHONS)
def test_every_dependency_is_pinned_on_every_python(python):
    """Whatever the project requires, extras included, has a pin that satisfies it."""
    table = project()
    wanted = table["dependencies"] + [
        line for extra in table["optional-dependencies"].values() for line in extra
    ]
    pinned = pinned_on(python)
    for requirement in map(Requirement, wanted):
        if canonicalize_name(requirement.name) != "aggrade":
            assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), str(
                requirement
            )


def installed():
    """Return {name: distribution} of this environment."""
    return {canonicalize_name(found.name): found for found in metadata.distributions()}


def test_what_is_installed_is_what_is_pinned():
    """Every pinned package that this environment has is there in the pinned version."""
    pinned = pinned_on(".".join(map(str, sys.version_info[:3])))
    found = {name: package.version for name, package in installed().items() if name in pinned}
    assert found == {name: pinned[name] for name in found}


def test_what_the_dependencies_need_is_pinned_too():
    """No requirement of a direct dependency is left for an index to choose."""
    pinned = pinned_on(".".join(map(str, sys.version_info[:3])))
    packages = installed()
    direct = [canonicalize_name(Requirement(line).name) for line in project()["dependencies"]]
    needed = [Requirement(line) for name in direct for line in packages[name].requires or []]
    assert len(needed) > len(direct)
    unpinned = {
        requirement.name
        for requirement in needed
        if (requirement.marker is None or requirement.marker.evaluate({"extra": ""}))
        and canonicalize_name(requirement.name) not in pinned
    }
    assert unpinned == set()


def test_every_import_is_a_declared_dependency():
    """What the four packages import is the standard library, themselves, or named in the project file."""
    provided = metadata.packages_distributions()
    declared = {canonicalize_name(Requirement(line).name) for line in project()["dependencies"]}
    undeclared = {
        f"{path.relative_to(ROOT)}: {module}"
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for module in imports_of(path) - sys.stdlib_module_names - set(PACKAGES) - OPTIONAL
        if declared.isdisjoint(map(canonicalize_name, provided.get(module, ())))
    }
    assert undeclared == set()


def test_versions_agree():
    """The project file, the changelog's newest release and the installed package name one version."""
    released = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert released[0] == project()["version"]
    assert {found.version for found in metadata.distributions(name="aggrade")} <= {project()["version"]}


def test_the_changelog_has_an_entry_for_what_is_not_released():
    """The changelog keeps the headings of Keep a Changelog, newest first."""
    headings = re.findall(r"^### (.+)$", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert set(headings) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert (ROOT / "CHANGELOG.md").read_text().index("## [Unreleased]") < (
        ROOT / "CHANGELOG.md"
    ).read_text().index("## [0")


def make(*arguments, check=True):
    """Run make in the repository without letting it build anything."""
    return subprocess.run(
        ["make", *arguments], cwd=ROOT, check=check, capture_output=True, text=True, timeout=60
    )


def test_make_alone_lists_every_command():
    """`make` without a target prints each documented command."""
    shown = set(re.findall(r"^make (\w+)", make().stdout, flags=re.MULTILINE))
    assert {"help", "install", "check", "test", "prove", "demo", "clean"} <= shown


def test_install_refuses_where_no_python_will_do(tmp_path):
    """An interpreter that cannot make the environment gives one sentence with the way out, and no folder."""
    environment = tmp_path / "environment"
    done = make("install", f"VENV={environment}", "PYTHON=/nowhere/python3", check=False)
    assert done.returncode != 0
    assert "make install PYTHON=" in done.stderr
    assert not environment.exists()


def test_install_is_not_repeated(tmp_path):
    """An environment newer than the project file and the pins is left alone; an older one is made again."""
    (tmp_path / ".installed").touch()
    assert "Nothing to be done" in make("--dry-run", "install", f"VENV={tmp_path}").stdout
    later = make("--dry-run", "install", f"VENV={tmp_path}", "-W", "constraints.txt").stdout
    assert "--no-build-isolation" in later
