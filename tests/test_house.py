"""The house stands: floors, no rings, nothing unsafe, everything named and explained. All read from the source."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import polysense
from polysense import errors

SOURCE = Path(polysense.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}

#: Module or package -> floor. Imports point down; within a floor, files that stand side by side do not know each other.
FLOORS = {
    "errors": 0,
    "registry": 1, "tokens": 1, "contracts": 1, "layers": 1, "metrics": 1, "store": 1, "talk": 1, "own": 1, "hub": 1, "processes": 1,
    "writing": 1, "vocabulary": 1, "subtitles": 1,
    "data": 2,
    "modality": 3, "fusion": 3, "task": 3,
    "network": 4, "pairs": 4, "learn": 4,
    "keep": 5, "keep_match": 5, "judge": 5, "answers": 5, "telling": 5,
    "estimator": 6, "finding": 6, "several": 6, "model": 6, "matcher": 6, "opening": 6,
    "recommender": 6, "tastes": 4, "keep_recommend": 5,
    "demo": 7, "transcripts": 7,
    "cli": 8, "cli_match": 8, "cli_recommend": 8, "typed": 8, "__init__": 8,
    "__main__": 9,
}
#: On one floor, who may stand on whom (left on right): a base on which its neighbours build.
STEPS = {
    ("contracts", "registry"), ("contracts", "tokens"), ("layers", "tokens"), ("own", "contracts"), ("own", "tokens"),
    ("learn", "network"), ("pairs", "network"), ("pairs", "learn"), ("keep", "judge"), ("keep_match", "keep"), ("answers", "judge"), ("model", "several"), ("model", "estimator"), ("matcher", "estimator"), ("matcher", "finding"), ("cli", "typed"), ("cli", "cli_match"), ("cli_match", "typed"), ("opening", "model"), ("opening", "matcher"), ("talk", "processes"), ("metrics", "registry"), ("vocabulary", "writing"),
    ("task", "modality"),
    ("tastes", "network"), ("learn", "tastes"), ("keep_recommend", "keep"), ("keep_recommend", "judge"), ("keep_recommend", "tastes"),
    ("opening", "recommender"), ("recommender", "estimator"), ("cli", "cli_recommend"), ("cli_recommend", "typed"), ("cli_recommend", "cli_match"),
}
SHELVES = ("modality", "fusion", "task")
LONGEST = 100  # lines of a function


def name_of(path: Path) -> str:
    """polysense.data.records for .../data/records.py; a package for its __init__."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(["polysense", *(parts[:-1] if parts[-1] == "__init__" else parts)])


def part_of(module: str) -> str:
    """The first name below polysense, which has a floor."""
    below = module.split(".")[1:]
    return below[0] if below else "__init__"


MODULES = {name_of(path): path for path in FILES}


def imports_of(path: Path) -> set[str]:
    """Modules of polysense that a file imports anywhere in it, in functions and for type checkers too."""
    package = name_of(path).split(".") if path.name == "__init__.py" else name_of(path).split(".")[:-1]
    found = set()
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "polysense"}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *((node.module or "").split(".") if node.module else [])])
            if stem.split(".")[0] != "polysense":
                continue
            for alias in node.names:
                whole = f"{stem}.{alias.name}"
                found.add(whole if whole in MODULES else stem)
    return found


ARROWS = {name_of(path): imports_of(path) for path in FILES}


def test_every_module_has_a_floor():
    assert {part_of(name) for name in MODULES} <= set(FLOORS)


def test_imports_point_down():
    wrong = []
    for name, targets in ARROWS.items():
        mine = part_of(name)
        for target in targets:
            theirs = part_of(target)
            if mine in ("__init__", theirs) or (mine, theirs) in STEPS:
                continue
            if FLOORS[theirs] >= FLOORS[mine]:
                wrong.append(f"{name} (floor {FLOORS[mine]}) imports {target} (floor {FLOORS[theirs]})")
    assert not wrong, "\n".join(wrong)


def test_files_of_one_shelf_do_not_know_each_other():
    """Their package's own file may hold what they share, and modality/towers*.py what pretrained networks share.

    Files of one modality, told by the first word of their names, may build on each other: text_tower.py on text.py.
    """
    shared = {f"polysense.{shelf}" for shelf in SHELVES}

    def family(module: str) -> str:
        return module.split("_")[0]

    wrong = [
        f"{name} imports {target}"
        for name, targets in ARROWS.items() for target in targets
        if part_of(name) in SHELVES and part_of(target) == part_of(name) and target not in shared
        and family(target) not in (family(name), "polysense.modality.towers")
    ]
    assert not wrong, "\n".join(wrong)


def test_no_import_ring():
    """Also none that a function hides."""
    arrows = {name: {t for t in targets if t != name} for name, targets in ARROWS.items() if name != "polysense"}
    done: set[str] = set()

    def walk(name: str, way: list[str]) -> None:
        assert name not in way, " -> ".join([*way[way.index(name):], name])
        if name in done:
            return
        for target in sorted(arrows.get(name, ())):
            walk(target, [*way, name])
        done.add(name)

    for name in arrows:
        walk(name, [])


def test_nothing_that_can_run_code_when_read():
    """No pickle in any guise; torch.load only with weights_only=True; no eval, exec or shell."""
    unsafe = {"pickle", "cPickle", "_pickle", "joblib", "dill", "cloudpickle", "shelve", "marshal"}
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            where = f"{path.name}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import):
                assert not {alias.name.split(".")[0] for alias in node.names} & unsafe, where
            elif isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] not in unsafe, where
            elif isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("eval", "exec", "os.system", "yaml.load", "pd.read_pickle"), where
                given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                if called.endswith("torch.load"):
                    assert given.get("weights_only") == "True", where
                if called in ("np.load", "numpy.load", "np.lib.format.read_array"):
                    assert given.get("allow_pickle", "False") == "False", where
                assert given.get("shell", "False") == "False", where
                if called.endswith("import_module") and isinstance(node.args[0], ast.Constant):
                    assert str(node.args[0].value).split(".")[0] not in unsafe, where


def test_no_mistake_of_a_user_is_an_assert():
    """An assert vanishes under -O; what a user can do wrong is raised."""
    counted = {path.name: sum(isinstance(node, ast.Assert) for node in ast.walk(tree)) for path, tree in TREES.items()}
    assert sum(counted.values()) <= 3, counted


def test_all_is_sorted_and_complete():
    assert polysense.__all__ == sorted(polysense.__all__)
    for name in polysense.__all__:
        assert getattr(polysense, name).__doc__, name
    assert set(dir(polysense)) >= set(polysense.__all__)
    assert polysense._HOMES.keys() == set(polysense.__all__)
    checked = next(
        node for node in TREES[SOURCE / "__init__.py"].body if isinstance(node, ast.If)
    )  # what type checkers see
    seen = {alias.name for node in checked.body for alias in node.names}
    assert seen == set(polysense.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'Modle'"):
        polysense.Modle


def test_importing_polysense_is_cheap():
    """Neither torch nor numpy nor transformers, in a fresh process; nor does help need them."""
    heavy = {"torch", "numpy", "transformers", "sklearn", "pyarrow", "pandas", "PIL", "scipy", "accelerate"}
    for code in ("import polysense", "import polysense.cli"):
        done = subprocess.run(
            [sys.executable, "-c", f"{code}\nimport sys; print(*({heavy!r} & set(sys.modules)))"],
            capture_output=True, text=True,
        )
        assert done.stdout.strip() == "" and done.returncode == 0, (code, done.stdout, done.stderr)


def public(path: Path):
    """(name, node) of public classes, functions and methods of public classes."""
    for node in TREES[path].body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_"):
            yield node.name, node
            if isinstance(node, ast.ClassDef):
                for item in node.body:
                    if isinstance(item, ast.FunctionDef) and not item.name.startswith("_"):
                        yield f"{node.name}.{item.name}", item


def bases() -> dict[str, set[str]]:
    """Class name -> names of its bases, of the whole source."""
    return {
        node.name: {ast.unparse(base).split(".")[-1] for base in node.bases}
        for tree in TREES.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
    }


def explained_above() -> set[str]:
    """Methods whose meaning stands in a base class of ours or is torch's own."""
    names = {"forward", "train", "extra_repr"}
    for path in FILES:
        for name, node in public(path):
            if "." in name and ast.get_docstring(node):
                names.add(name.split(".")[1])
    return names


def test_every_module_class_and_function_is_explained():
    above, wrong = explained_above(), []
    for path, tree in TREES.items():
        if not ast.get_docstring(tree):
            wrong.append(f"{path.name} has no docstring")
        for name, node in public(path):
            if ast.get_docstring(node) or ("." in name and name.split(".")[1] in above):
                continue
            if isinstance(node, ast.ClassDef) and bases().get(node.name, set()) & set(bases()):
                continue
            wrong.append(f"{path.name}: {name}")
    assert not wrong, "\n".join(wrong)


def functions():
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield path, node


def test_no_function_is_longer_than_a_story():
    long = [f"{p.name}: {n.name} has {n.end_lineno - n.lineno + 1} lines" for p, n in functions() if n.end_lineno - n.lineno >= LONGEST]
    assert not long, "\n".join(long)


def test_defaults_are_literals():
    """What stands in a signature is what help and model.json say; and nothing mutable but typer's empty lists."""
    allowed = {"Limits()", "Path('polysense-demo')"}
    for path, node in functions():
        for default in [*node.args.defaults, *node.args.kw_defaults]:
            if default is None:
                continue
            text = ast.unparse(default)
            if isinstance(default, ast.Lambda) or text in allowed or text.isupper() or isinstance(default, (ast.Name, ast.Attribute)):
                continue
            value = ast.literal_eval(default)  # raises where it is none
            assert path.name == "cli.py" or not isinstance(value, (list, dict, set)), f"{path.name}: {node.name}"


def test_lines_are_short_enough_and_annotations_are_late():
    long = [
        f"{path.name}:{i}" for path in FILES if path.name != "cli.py"
        for i, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1) if len(line) > 130
    ]
    assert not long, long
    for path, tree in TREES.items():
        if len(tree.body) > 1:
            assert any(isinstance(n, ast.ImportFrom) and n.module == "__future__" for n in tree.body), path.name


def test_no_work_at_import_time():
    """A module's top level names and defines; it opens, reads and prints nothing."""
    for path, tree in TREES.items():
        for node in tree.body:
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                called = ast.unparse(node.value.func)
                assert called in ("os.environ.setdefault",), f"{path.name}:{node.lineno} calls {called}"
            assert not isinstance(node, (ast.For, ast.While, ast.With)), f"{path.name}:{node.lineno}"


def test_the_tree_of_errors_is_the_one_that_is_drawn():
    drawn = errors.__doc__
    classes = [cls for cls in vars(errors).values() if inspect.isclass(cls) and issubclass(cls, Exception)]
    for cls in classes:
        assert cls.__name__ in drawn and cls.__doc__ and issubclass(cls, errors.PolysenseError)
    assert {cls.exit_code for cls in classes} == {1, 2}
    assert all(cls.exit_code == 2 for cls in classes if issubclass(cls, errors.Mistake))
    raised = {
        ast.unparse(node.exc.func)
        for tree in TREES.values() for node in ast.walk(tree)
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
    }
    assert {cls.__name__ for cls in classes} - {"PolysenseError", "Unfinished", "Mistake"} <= raised, "all are in use"


def test_nothing_names_a_machine():
    for path in [*FILES, *Path(__file__).parent.glob("*.py"), *SOURCE.parents[1].glob("*.md")]:
        text = path.read_text(encoding="utf-8")
        for word in ("/" + "work/", "/" + "home/", "/" + "Users/"):
            assert word not in text, f"{path.name} holds {word}"


def test_every_module_can_be_imported():
    for module in pkgutil.walk_packages(polysense.__path__, "polysense."):
        importlib.import_module(module.name)
