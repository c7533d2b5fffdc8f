"""Writes deploy/sbom.cdx.json: the packages of the image as a CycloneDX software bill of materials, from requirements.lock.

python -m deploy.sbom

The file is in the repository because it depends only on the lock file: a change of versions shows in both, and a scanner needs no
image. The same lock file gives identical bytes; there is no timestamp.
"""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from pathlib import Path
from uuid import NAMESPACE_OID, uuid5

from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, Property, XsUri
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
PROJECT = ROOT / "pyproject.toml"
SBOM = ROOT / "deploy" / "sbom.cdx.json"
_PACKAGE = re.compile(r"^(?P<name>[a-z0-9-]+)==(?P<version>\S+)(?: ; (?P<marker>.*?))?(?: \\)?$")
_HASH = re.compile(r"^    --hash=sha256:([0-9a-f]{64})(?: \\)?$")
_USED_BY = re.compile(r"^    # via (.*)$")
_DIRECT = "billhouse (pyproject.toml)"


def main() -> None:
    """Write the file."""
    SBOM.write_text(
        sbom(LOCK.read_text(encoding="utf-8"), (ROOT / "pyproject.toml").read_text(encoding="utf-8")), encoding="utf-8"
    )
    print(f"wrote {SBOM.relative_to(ROOT)}")


def sbom(lock: str, project: str) -> str:
    """The bill of materials as JSON, for a lock file and a pyproject.toml. Raises ValueError for an unknown lock line."""
    about = tomllib.loads(project)["project"]
    root = Component(
        name=about["name"],
        version=about["version"],
        description=about["description"],
        type=ComponentType.APPLICATION,
        bom_ref=about["name"],
        licenses=[DisjunctiveLicense(id=about["license"])],
    )
    packages, used_by = _packages(lock)
    bom = Bom(
        components=packages,
        metadata=BomMetaData(component=root),
        serial_number=uuid5(NAMESPACE_OID, lock),
    )
    bom.metadata.timestamp = None  # type: ignore[assignment] # keeps the output reproducible
    by_name = defaultdict(list)
    for package in packages:
        by_name[package.name].append(package)
    users: dict[str, list[Component]] = {**by_name, _DIRECT: [root]}
    for name, its_users in used_by.items():
        for user in its_users:
            for component in users[user]:
                bom.register_dependency(component, by_name[name])
    return JsonV1Dot6(bom).output_as_string(indent=1) + "\n"


def _packages(lock: str) -> tuple[list[Component], dict[str, list[str]]]:
    """The packages, and the names of their dependents. A package appears twice if Python versions need different ones."""
    packages: list[Component] = []
    used_by: dict[str, list[str]] = {}
    for line in lock.splitlines():
        if found := _PACKAGE.match(line):
            purl = PackageURL("pypi", None, found["name"], found["version"])
            marker = [Property(name="billhouse:marker", value=found["marker"])] if found["marker"] else []
            # The package URL instead of a URL of an index: each installation chooses its index.
            files = ExternalReference(type=ExternalReferenceType.DISTRIBUTION, url=XsUri(str(purl)))
            packages.append(
                Component(
                    name=found["name"],
                    version=found["version"],
                    type=ComponentType.LIBRARY,
                    bom_ref=str(purl),
                    purl=purl,
                    external_references=[files],
                    properties=marker,
                )
            )
        elif found := _HASH.match(line):
            files.hashes.add(HashType(alg=HashAlgorithm.SHA_256, content=found[1]))
        elif found := _USED_BY.match(line):
            used_by[packages[-1].name] = found[1].split(", ")
        else:
            raise ValueError(f"Unknown line in the lock file: {line}")
    return packages, used_by


if __name__ == "__main__":
    main()
