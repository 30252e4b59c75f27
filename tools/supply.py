"""What passgate is made of: an SBOM, its licences, known weaknesses; all from the lock.

    python tools/supply.py sbom [FILE] | licences | audit

``sbom`` writes CycloneDX, the same bytes for the same lock. ``licences`` fails for a licence
that is not on the list below. ``audit`` fails for a known weakness, and never for lack of a
database to ask: then it says that nothing was checked.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements" / "run.txt"
_BIN = Path(sys.executable).parent
_LOCKED = re.compile(r"^([a-z0-9.-]+)==([^ ;\\]+)(?: *; *([^\\]+))?", re.MULTILINE)

# May be used in whatever is given away as Apache-2.0; anything else is looked at by a person.
ALLOWED = frozenset(
    {
        "Apache Software License",
        "Apache-2.0",
        "BSD License",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "ISC",
        "MIT",
        "MIT License",
        "PSF-2.0",
    }
)


def locked() -> dict[str, str]:
    """Return name and version of all that the lock installs on this platform."""
    found = _LOCKED.findall(LOCK.read_text())
    return {name: version for name, version, marker in found if not _elsewhere(marker)}


def _elsewhere(marker: str) -> bool:
    """Return whether *marker* names only the browser's Python, on which passgate cannot run."""
    return "sys_platform == 'emscripten'" in marker


def licences_of(name: str) -> list[str]:
    """Return each licence of an installed package, as it says them itself."""
    said = metadata.metadata(name)
    expression = said.get("License-Expression")
    if expression:
        return re.split(r" (?:AND|OR) ", expression)
    classifiers = [
        line.rpartition(" :: ")[2]
        for line in said.get_all("Classifier") or []
        if line.startswith("License :: ")
    ]
    plain = (said.get("License") or "").strip()
    return classifiers or ([plain.splitlines()[0]] if plain else [])


def sbom() -> str:
    """Return the SBOM."""
    command = [str(_BIN / "cyclonedx-py"), "requirements", "--output-reproducible", "--of", "JSON"]
    made = subprocess.run(  # noqa: S603  ours, and pinned
        [*command, str(LOCK)], capture_output=True, text=True, check=True
    )
    bom = json.loads(made.stdout)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bom["metadata"]["component"] = {
        "bom-ref": "passgate",
        "type": "application",
        "name": "passgate",
        "version": metadata.version("passgate"),
        "description": project["description"],
        "licenses": [{"license": {"id": project["license"]}}],
    }
    names = locked()
    bom["components"] = [each for each in bom["components"] if each["name"] in names]
    for component in bom["components"]:
        component.pop("description", None)  # the line of the lock, with every hash once more
        component["licenses"] = [
            {"license": {"name": name}} for name in licences_of(component["name"])
        ]
    kept = {"passgate", *(component["bom-ref"] for component in bom["components"])}
    bom["dependencies"] = [each for each in bom.get("dependencies", []) if each["ref"] in kept]
    return json.dumps(bom, indent=2, sort_keys=True) + "\n"


def licences() -> int:
    """Print the licence of everything locked; return 1 if one is not allowed."""
    status = 0
    for name, version in sorted(locked().items()):
        found = licences_of(name)
        well = bool(found) and set(found) <= ALLOWED
        status |= not well
        told = ", ".join(found) or "none is named"
        sys.stdout.write(f"{'  ' if well else '! '}{name} {version}: {told}\n")
    if status:
        sys.stdout.write("licences: look at what is marked, then allow it in tools/supply.py\n")
    return int(status)


def audit() -> int:
    """Ask for known weaknesses; return 1 if there is one."""
    command = [str(_BIN / "pip-audit"), "--requirement", str(LOCK), "--format", "json"]
    asked = subprocess.run(  # noqa: S603  ours, and pinned
        [*command, "--require-hashes", "--disable-pip", "--progress-spinner", "off"],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        told = json.loads(asked.stdout)["dependencies"]
    except (ValueError, KeyError):
        sys.stdout.write("audit: skipped, no advisory database can be reached from here\n")
        return 0
    checked = [each for each in told if "vulns" in each]
    weak = [each for each in checked if each["vulns"]]
    for each in weak:
        ids = ", ".join(vuln["id"] for vuln in each["vulns"])
        sys.stdout.write(f"audit: {each['name']} {each['version']}: {ids}\n")
    if not checked:
        sys.stdout.write("audit: skipped, the database that answers knows none of the packages\n")
    else:
        sys.stdout.write(f"audit: {len(checked)} of {len(told)} checked, {len(weak)} weak\n")
    return int(bool(weak))


def main(argv: list[str]) -> int:
    """Do what is asked; return the exit status."""
    match argv:
        case ["sbom"]:
            sys.stdout.write(sbom())
            return 0
        case ["sbom", path]:
            file = Path(path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(sbom())
            return 0
        case ["licences"]:
            return licences()
        case ["audit"]:
            return audit()
        case _:
            sys.stderr.write(__doc__ or "")
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
