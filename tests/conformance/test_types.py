"""The types of functions, as TypeScript's compiler sees them: ours, and those that Convex's own tools make."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from daysong.commands.documents import typescript
from daysong.kernel.functions.descriptions import describe
from daysong.kernel.functions.registry import Registry
from daysong.surface import SURFACE
from rehearsal.processes.server import ADMIN_KEY, Server
from tests.conformance.test_node import node

__all__ = ["node"]

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
PACKAGES = HERE / "node_modules"
OPTIONS = {
    "noEmit": True, "strict": True, "module": "esnext", "moduleResolution": "bundler", "target": "es2022",
    "lib": ["es2022", "dom"], "types": [], "skipLibCheck": True, "preserveSymlinks": True,
}  # fmt: skip


@pytest.fixture
def project(node: str, tmp_path: Path) -> Path:
    """Return the folder of an app that has the npm packages."""
    for package in ("typescript", "convex-helpers"):
        if not (PACKAGES / package).exists():
            pytest.skip(f"the npm package {package} is not there: script/clients installs it")
    (tmp_path / "node_modules").symlink_to(PACKAGES)
    (tmp_path / "package.json").write_text('{"type": "module", "dependencies": {"convex": "*"}}')
    return tmp_path


def run(node: str, project: Path, tool: str, *args: str) -> str:
    """Return the output of a tool of the packages; AssertionError with it when the tool fails."""
    ran = subprocess.run(  # noqa: S603
        [node, str(PACKAGES / tool), *args], cwd=project, capture_output=True, text=True, timeout=100, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def compile_usage(node: str, project: Path, usage: str) -> None:
    """Compile a file of this folder in the project; AssertionError with the compiler's errors."""
    shutil.copy(HERE / usage, project)
    (project / "tsconfig.json").write_text(json.dumps({"compilerOptions": OPTIONS, "files": [usage]}))
    run(node, project, "typescript/bin/tsc", "-p", ".")


def test_an_app_is_typed_by_our_declarations(node: str, project: Path) -> None:
    """Arguments, results and error codes, with the clients for HTTP and for React; mistakes are refused."""
    # As a module that is compiled itself, so that its own mistakes are found too.
    (project / "api.ts").write_text(typescript.document(describe(Registry(SURFACE))), encoding="utf-8")
    compile_usage(node, project, "types.usage.ts")


def test_convexs_own_tools_make_a_typed_api(node: str, project: Path, server: Server) -> None:
    """`npx convex function-spec` with the admin key, `convex-helpers ts-api-spec` and the compiler."""
    convex = ("convex/bin/main.js",)
    where = ("--url", server.origin, "--admin-key", ADMIN_KEY)
    spec: dict[str, Any] = json.loads(run(node, project, *convex, "function-spec", *where))
    functions = {one["identifier"]: one for one in spec["functions"]}
    assert functions["diaries.js:createDiary"]["functionType"] == "Mutation"
    assert functions["blog.js:createDraft"]["visibility"] == {"kind": "internal"}
    assert len(functions) == len(list(Registry(SURFACE)))
    (project / "spec.json").write_text(json.dumps(spec))
    files = ("--input-file", "spec.json", "--output-file", "spec.ts", "--include-internal")
    run(node, project, "convex-helpers/dist/bin.cjs", "ts-api-spec", *files)
    compile_usage(node, project, "spec.usage.ts")
    assert json.loads(run(node, project, *convex, "run", "blog:listPublished", *where)) == []
