"""The command line: each command once as a process, everything else through ``main``."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys

import pytest

from door import door, evaluated, fitted, predicted, write_table  # noqa: F401  (fixtures)
from polysense import cli, errors
from small import records

COMMANDS = ["demo", "fit", "predict", "evaluate", "list", "show"]
TINY = ["--set", "train.epochs=1", "--set", "train.dim=8", "--set", "train.members=1"]


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """(exit code, stdout, stderr) of a command, in this process and in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def ask(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["polysense", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            cli.main()
        said = capsys.readouterr()
        return left.value.code or 0, said.out, said.err

    return ask


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """30 records of Chinese text and a table; a fitted model of them."""
    folder = tmp_path_factory.mktemp("shop")
    rows = [{"id": f"r{i}", **row} for i, row in enumerate(records(30, views="text_zh table"))]
    table = write_table(folder / "shop.csv", rows)
    from polysense import Model

    Model("label", options={"train.epochs": 1, "train.dim": 8, "train.members": 1}).fit(table).save(folder / "model")
    return table


# as processes -------------------------------------------------------------------------------------


def test_fit(door, fitted):
    assert fitted.returncode == 0, fitted.stderr
    assert fitted.stdout == "", "talk goes to stderr"
    assert (door.folder / "model" / "model.json").exists()
    for line in ("picture +-> image: ", "text_zh +-> text: ", "sound +-> audio: ", "temperature -> number: ", "id +-> id",
                 "learning 'label', 3 classes: (sun|snow|rain) [0-9]+, ", "table +<- table.mlp: ", "picture: read by image",
                 "training: 20 done, loss ", "The model: model"):
        assert re.search(line, fitted.stderr), line
    assert "\r" not in fitted.stderr, "bars are for terminals"
    assert "\x1b" not in fitted.stderr, "no colours where no terminal is"


def test_predict(door, predicted):
    """One line a record, in the table's order: row, id, prediction, probabilities that sum to 1."""
    assert predicted.returncode == 0 and predicted.stderr == ""
    lines = list(csv.DictReader(io.StringIO(predicted.stdout)))
    assert list(lines[0]) == ["row", "id", "prediction", "probability_rain", "probability_snow", "probability_sun"]
    assert [line["row"] for line in lines] == [str(i) for i in range(36)]
    assert [line["id"] for line in lines] == [row["id"] for row in door.rows]
    for line in lines:
        shares = {name: float(line[f"probability_{name}"]) for name in ("rain", "snow", "sun")}
        assert sum(shares.values()) == pytest.approx(1, abs=1e-4) and line["prediction"] == max(shares, key=shares.get)
    right = sum(line["prediction"] == row["label"] for line, row in zip(lines, door.rows, strict=True))
    assert right > 18, "records it has mostly seen; swapped rows would give about twelve"


def test_evaluate(door, evaluated):
    assert evaluated.returncode == 0, evaluated.stderr
    assert "accuracy by views present" in evaluated.stdout and "this model" in evaluated.stdout
    found = json.loads((door.folder / "out" / "e.json").read_text(encoding="utf-8"))
    assert found["records"] == 36 and len(found["subsets"]) == 15 and found["bad_cells"] == []
    page = (door.folder / "out" / "r.html").read_text(encoding="utf-8")
    assert page.lstrip().lower().startswith("<!doctype html")


def test_evaluate_by_a_column_in_chinese(door, fitted):
    """The figures of each value in JSON and text; the page speaks Chinese."""
    done = door.polysense("evaluate", "model", "weather.csv", "--by", "place", "--lang", "zh",
                          "--json", "out/by.json", "--html", "out/zh.html")
    assert done.returncode == 0 and "by 'place'" in done.stdout, done.stderr
    by = json.loads((door.folder / "out" / "by.json").read_text(encoding="utf-8"))["by"]
    assert by["column"] == "place" and sum(row["records"] for row in by["values"]) == 36
    page = (door.folder / "out" / "zh.html").read_text(encoding="utf-8")
    assert 'lang="zh-CN"' in page and "模型是怎样得到的" in page and "按 place 细分" in page


def test_help_as_a_process():
    done = subprocess.run([sys.executable, "-m", "polysense.cli"], capture_output=True, text=True)
    assert done.returncode == 0 and all(command in done.stdout for command in COMMANDS) and done.stderr == ""


def test_list_and_show_as_processes(door, fitted):
    for arguments, word in ((["list"], "concat"), (["show", "model"], "fusion concat")):
        done = door.polysense(*arguments)
        assert done.returncode == 0 and word in done.stdout and done.stderr == "", done.stderr


def test_the_reader_of_the_output_may_go_away(door, fitted):
    code = (
        "import subprocess, sys\n"
        "p = subprocess.Popen([sys.executable, '-m', 'polysense.cli', 'list', 'encoders'], stdout=subprocess.PIPE, stderr=subprocess.PIPE)\n"
        "p.stdout.close(); p.wait(); print(p.stderr.read().decode())"
    )
    assert door.python("-c", code).stdout.strip() == ""


@pytest.mark.slow
def test_demo_on_made_up_records(door, tmp_path):
    """No apt in sight: it says so, and shows everything on made-up records."""
    done = door.polysense("demo", "--out", str(tmp_path / "d"), env={"PATH": "", "XDG_CACHE_HOME": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert "made up, because" in done.stderr and door.tried == ""
    for name in ("train.csv", "valid.csv", "test.csv", "model/model.json", "report.html"):
        assert (tmp_path / "d" / name).exists(), name
    assert "records it has never seen" in done.stdout and "polysense fit TABLE --target COLUMN" in done.stdout


# in this process ----------------------------------------------------------------------------------


def test_help_lists_every_command_and_option_with_a_line(run):
    assert run()[1] == run("--help")[1]
    for command in COMMANDS:
        code, out, err = run(command, "--help")
        assert code == 0 and err == ""
        options = re.findall(r"^ +(?:-h, )?(--[\w-]+)(.*)", out, re.MULTILINE)
        assert options and all(text.strip() for _, text in options), command
        assert out.startswith(f"Usage: polysense {command}")
    listed = run("fit", "--help")[1]
    assert "--search" not in listed, "an option appears when it works"


def test_list_of_an_entry_says_what_its_docstring_says(run):
    code, out, _ = run("list", "image.cnn")
    lines = out.splitlines()
    assert code == 0 and lines[0] == "image.cnn" and lines[2].startswith("Blocks of 3x3 convolution")
    assert "arXiv:1502.03167" in out and "Wins where" in out and "Costs 9 times" in out
    assert "Args:" not in out and ">>>" not in out and any(line.startswith("  pixels=64: side") for line in lines)
    code, out, _ = run("list", "concat")
    assert code == 0 and "  dropout=0.4:" in out
    code, _, err = run("list", "image.cn")
    assert code == 2 and "there is no encoder 'image.cn'; did you mean 'image.cnn'" in err
    code, out, _ = run("list", "towers")
    lines = out.splitlines()[1::2]
    assert code == 0 and {line.split()[1] for line in lines} == {"text", "image", "audio", "language"}
    assert len({line.index(f" {line.split()[1]} ") for line in lines}) == 1  # one column, however long a name is


def test_list(run):
    code, out, err = run("list")
    assert code == 0 and err == ""
    for word in ("modalities", "encoders", "fusions", "tasks", "towers", "concat", "image.cnn", "classify", "minilm-l6"):
        assert word in out
    code, out, _ = run("list", "fusions")
    assert "heads=4: attention heads." in out and "image.cnn" not in out
    code, out, err = run("list", "fusion")
    assert (code, out) == (2, "") and err == (
        "polysense: there is no shelf 'fusion'; did you mean 'fusions'? There are: modalities, encoders, fusions, tasks, towers, training\n")


def test_show_a_table_and_a_model(run, shop):
    code, out, err = run("show", shop)
    assert code == 0 and "shop.csv: 30 records" in out and re.search("text_zh +-> text: ", out) and err == ""
    assert re.search(r"view text_zh: present in \d+ of 30 records", out)
    code, out, err = run("show", shop.parent / "model")
    assert code == 0 and "view text_zh <- text.plain" in out and "classify 'label' into 3 classes: rain, snow, sun" in out


def test_predict_into_a_file_is_what_it_prints(run, shop, tmp_path):
    _, printed, _ = run("predict", shop.parent / "model", shop)
    code, out, _ = run("predict", shop.parent / "model", shop, "--out", "answers.csv")
    assert code == 0 and out == ""
    assert (tmp_path / "answers.csv").read_text(encoding="utf-8").splitlines() == printed.splitlines()


def test_predict_keeps_rows_and_ids_whatever_their_order(run, shop, tmp_path):
    """The table backwards gives the answers backwards, each under its id."""
    rows = list(csv.DictReader(open(shop, encoding="utf-8")))
    write_table(tmp_path / "back.csv", rows[::-1])
    straight = list(csv.DictReader(io.StringIO(run("predict", shop.parent / "model", shop)[1])))
    back = list(csv.DictReader(io.StringIO(run("predict", shop.parent / "model", "back.csv")[1])))
    assert [line["row"] for line in back] == [str(i) for i in range(30)]
    for one, other in zip(straight, back[::-1], strict=True):
        assert one["id"] == other["id"] and one["prediction"] == other["prediction"]
        assert float(one["probability_sun"]) == pytest.approx(float(other["probability_sun"]), abs=2e-5)


def test_predict_says_what_it_missed(run, shop, tmp_path):
    rows = [{"colour": "red", "wind": row["wind"], "id": row["id"]} for row in csv.DictReader(open(shop, encoding="utf-8"))]
    write_table(tmp_path / "less.csv", rows)
    code, out, err = run("predict", shop.parent / "model", "less.csv")
    assert code == 0 and len(out.splitlines()) == 31
    assert "less.csv lacks columns" in err and "'text_zh'" in err and "'colour', which the model does not know: ignored" in err


def test_predict_of_no_rows(run, shop, tmp_path):
    (tmp_path / "none.csv").write_text(shop.read_text(encoding="utf-8").splitlines()[0] + "\n", encoding="utf-8")
    code, out, _ = run("predict", shop.parent / "model", "none.csv")
    assert code == 0 and out == "row,id,prediction,probability_rain,probability_snow,probability_sun\n"


# the options of fit -----------------------------------------------------------------------------------


def recipe_of(folder) -> dict:
    return json.loads((folder / "model.json").read_text(encoding="utf-8"))["model"]


def test_every_option_of_fit_reaches_the_model(run, shop, tmp_path):
    rows = [row | {"who": f"w{i // 3}"} for i, row in enumerate(csv.DictReader(open(shop, encoding="utf-8")))]
    write_table(tmp_path / "t.csv", rows)
    code, out, err = run(
        "fit", "t.csv", "--target", "label", "--out", "m", "--columns", "wind=ignore,place=text", "--columns", "day=ignore",
        "--encoder", "place=text.bag", "--encoder", "text_zh=text.plain", "--fusion", "attention", "--task", "classify",
        "--set", "fusion.hidden=5", "--set", "train.rate=1e-3", "--set", "task.weights=balanced", "--set", "place.dim=7",
        "--group", "who", "--seed", "7", "--on-bad", "drop", "--max-bad", "0.5", *TINY,
    )
    assert code == 0, err
    facts = recipe_of(tmp_path / "m")
    recipe = facts["recipe"]
    assert recipe["fusion"] == "attention" and recipe["group"] == "who" and recipe["seed"] == 7
    assert recipe["on_bad"] == "drop" and recipe["max_bad"] == 0.5
    assert recipe["options"]["fusion.hidden"] == 5 and recipe["options"]["train.rate"] == 1e-3
    assert recipe["encoders"]["place"] == "text.bag"
    kinds = {name: kind for name, kind, _ in facts["data"]["columns"]}
    assert kinds["wind"] == kinds["day"] == "ignore" and kinds["place"] == "text" and "who" not in kinds and "label" not in kinds
    assert facts["parts"]["model"]["task"]["options"]["weights"] == "balanced"
    assert facts["parts"]["model"]["encoders"]["place"]["options"]["dim"] == 7


def test_a_recipe_is_the_same_settings_and_what_is_typed_wins(run, shop, tmp_path):
    (tmp_path / "r.yaml").write_text(
        "target: label\nfusion: sum\nseed: 3\ncolumns:\n  wind: ignore\noptions:\n  train: {epochs: 1, dim: 8, members: 1}\n"
        "  fusion.temperature: 2.0\n")
    code, _, err = run("fit", shop, "--recipe", "r.yaml", "--seed", "4", "--columns", "day=ignore", "--out", "m")
    assert code == 0, err
    recipe = recipe_of(tmp_path / "m")["recipe"]
    assert (recipe["fusion"], recipe["seed"]) == ("sum", 4) and recipe["columns"] == {"wind": "ignore", "day": "ignore"}


def test_the_print_of_a_model_is_a_recipe(run, shop, tmp_path):
    """The recipe in model.json, written as a file, makes the same model."""
    import yaml

    first = recipe_of(shop.parent / "model")
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(first["recipe"], allow_unicode=True), encoding="utf-8")
    code, _, err = run("fit", shop, "--recipe", "again.yaml", "--out", "m")
    assert code == 0, err
    assert recipe_of(tmp_path / "m")["history"] == first["history"]


def test_validation_tables_and_split_columns(run, shop, tmp_path):
    code, _, err = run("fit", shop, "--target", "label", "--valid", shop, "--out", "m", *TINY)
    assert code == 0 and "30 records for training, 30 for validation" in err
    rows = [r | {"part": "valid" if i % 5 == 0 else "train"} for i, r in enumerate(csv.DictReader(open(shop, encoding="utf-8")))]
    write_table(tmp_path / "t.csv", rows)
    code, _, err = run("fit", "t.csv", "--target", "label", "--split", "part", "--out", "m", *TINY)
    assert code == 0 and "24 records for training, 6 for validation" in err
    code, _, err = run("fit", "t.csv", "--target", "label", "--split", "part", "--valid", shop, "--out", "m")
    assert code == 2 and "give one of them" in err


# mistakes ----------------------------------------------------------------------------------------------


def one_line(err: str) -> str:
    """The mistake, behind what was said of the table before."""
    *talk, last = err.splitlines()
    assert last.startswith("polysense: ") and "Traceback" not in err, err
    assert not any(line.startswith("polysense: ") for line in talk), err
    return last


@pytest.mark.parametrize(("arguments", "words"), [
    (["fitt"], ["fitt", "--help"]),
    (["fit"], ["TABLE"]),
    (["fit", "SHOP", "--target"], ["--target"]),
    (["fit", "SHOP", "--targt", "label"], ["--targt"]),
    (["fit", "SHOP", "--out", "m"], ["no target is named", "--target COLUMN"]),
    (["fit", "SHOP", "--target", "label"], ["no folder for the model is named", "--out DIR"]),
    (["fit", "SHOP", "--target", "lable", "--out", "m"], ["no column 'lable'", "did you mean 'label'"]),
    (["fit", "nowhere.csv", "--target", "label", "--out", "m"], ["nowhere.csv"]),
    (["fit", "SHOP", "--target", "label", "--out", "m", "--fusion", "conct"], ["no fusion 'conct'", "did you mean 'concat'"]),
    (["fit", "SHOP", "--target", "label", "--out", "m", "--task", "clasify"], ["did you mean 'classify'"]),
    (["fit", "SHOP", "--target", "label", "--out", "m", "--columns", "wnd=number"], ["wnd", "wind"]),
    (["fit", "SHOP", "--target", "label", "--out", "m", "--columns", "wind=nummer"], ["nummer", "number"]),
    (["fit", "SHOP", "--target", "label", "--out", "m", "--columns", "wind"], ["--columns 'wind' is not NAME=KIND,..."]),
    (["fit", "SHOP", "--target", "label", "--out", "m", "--columns", "wind=video"], ["video"]),
    (["fit", "SHOP", "--target", "label", "--out", "m", "--encoder", "text_zh=text.bagg"], ["did you mean 'text.bag'"]),
    (["fit", "SHOP", "--target", "label", "--out", "m", "--encoder", "txt=text.bag"], ["'txt', which is no view"]),
    (["fit", "SHOP", "--target", "label", "--out", "m", "--encoder", "text_zh"], ["--encoder 'text_zh' is not VIEW=NAME;"]),
    (["fit", "SHOP", "--target", "label", "--out", "m", "--set", "train.epoch=2"], ["did you mean 'train.epochs'"]),
    (["fit", "SHOP", "--target", "label", "--out", "m", "--set", "train.epochs=two"], ["train.epochs='two' must be a whole number"]),
    (["fit", "SHOP", "--target", "label", "--out", "m", "--set", "epochs=2"], ["lacks its section"]),
    (["fit", "SHOP", "--target", "label", "--out", "m", "--set", "train.epochs"], ["--set 'train.epochs' is not KEY=VALUE;"]),
    (["fit", "SHOP", "--target", "label", "--out", "m", "--group", "speaker"], ["no column 'speaker'"]),
    (["fit", "SHOP", "--target", "label", "--out", "m", "--split", "prt"], ["no column 'prt'"]),
    (["fit", "SHOP", "--target", "label", "--out", "m", "--on-bad", "ignore"], ["'error', 'mask' or 'drop'"]),
    (["fit", "SHOP", "--target", "label", "--out", "m", "--max-bad", "20"], ["must be a share from 0 to 1"]),
    (["fit", "SHOP", "--target", "label", "--out", "m", "--max-bad=some"], ["--max-bad some must be a number"]),
    (["fit", "SHOP", "--target", "label", "--out", "m", "--seed", "x"], ["--seed x must be a whole number (see: polysense fit --help)"]),
    (["fit", "SHOP", "--target", "label", "--out", "m", "--valid", "nowhere.csv"], ["nowhere.csv"]),
    (["fit", "SHOP", "--recipe", "nowhere.yaml", "--out", "m"], ["the recipe nowhere.yaml cannot be read"]),
    (["predict", "nowhere", "SHOP"], ["nowhere is no polysense model: there is no such folder; fit one (polysense fit ... --out nowhere)"]),
    (["predict", "MODEL", "nowhere.csv"], ["nowhere.csv"]),
    (["predict", "MODEL.pt", "SHOP"], ["could run code"]),
    (["evaluate", "MODEL", "nowhere.csv"], ["nowhere.csv"]),
    (["evaluate", "MODEL", "SHOP", "--jason", "x"], ["--jason"]),
    (["evaluate", "MODEL", "SHOP", "--by", "colour"], ["colour"]),
    (["evaluate", "MODEL", "SHOP", "--lang", "fr"], ["'fr'", "en"]),
    (["show", "nowhere.csv"], ["nowhere.csv"]),
    (["list", "encoder"], ["did you mean 'encoders'"]),
])
def test_a_mistake_is_one_line_with_the_cure_and_exit_code_2(run, shop, arguments, words):
    places = {"SHOP": str(shop), "MODEL": str(shop.parent / "model"), "MODEL.pt": str(shop.parent / "model.pt")}
    code, out, err = run(*(places.get(word, word) for word in arguments))
    assert code == 2 and out == ""
    for word in words:
        assert word in one_line(err), err


WITHOUT_TORCH = """
import sys
from polysense import cli

for line in sys.stdin.read().splitlines():
    sys.argv = ["polysense", *line.split()]
    try:
        cli.main()
    except SystemExit as left:
        print(left.code, "torch" in sys.modules, flush=True)
"""


def test_mistakes_that_need_no_torch_are_told_before_it_is_loaded(shop):
    """Each in the words that ``fit`` itself has for it, in a moment instead of after seconds."""
    fit = f"fit {shop} --target label --out m"
    lines = [
        "fit nowhere.csv --target label --out m", f"fit {shop} --target lable --out m", f"{fit} --columns wind=nummer",
        f"{fit} --columns wnd=number", f"{fit} --encoder text_zh=text.bagg", f"{fit} --encoder txt=text.bag",
        f"{fit} --encoder text_zh=image.cnn", f"{fit} --encoder text_zh=text.bag --set text_zh.dims=3",
        f"{fit} --fusion conct", f"{fit} --task clasify", f"{fit} --set train.epoch=2", f"{fit} --set train.epochs=0",
        f"{fit} --set fusion.head=2", f"{fit} --set wind.dim=3", f"{fit} --group who", f"{fit} --split part", f"{fit} --seed x",
        f"{fit} --valid nowhere.csv", "predict nowhere t.csv", f"predict {shop.parent / 'model'} nowhere.csv",
        f"evaluate {shop.parent / 'model'} nowhere.csv", "list encoder",
    ]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH], input="\n".join(lines), capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["2 False"] * len(lines), done.stdout + done.stderr
    said = done.stderr.splitlines()
    assert len(said) == len(lines) and all(line.startswith("polysense: ") for line in said), done.stderr


@pytest.mark.parametrize("command", [["list"], ["list", "training"], ["show", "SHOP"]])
def test_a_full_disk_behind_the_output_is_one_sentence(shop, command):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "polysense.cli", *(str(shop) if word == "SHOP" else word for word in command)],
            stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr == "polysense: the output could not be written: No space left on device\n"


@pytest.mark.parametrize(("text", "words"), [
    ("targt: label\n", "has 'targt', which is no setting; did you mean 'target'"),
    ("- 1\n- 2\n", "must hold settings such as 'target: label', not list"),
    ("a: [1\n", "is not YAML"),
    ("", "must hold settings"),
    ("target: label\noptions: 3\n", "options"),
    ("target: label\ncolumns: wind\n", "columns"),
    ("target: label\nencoders: [a]\n", "encoders"),
    ("target: label\ncolumns: {wind: null}\n", "columns has wind=None; it must name a kind, such as wind=number"),
    ("target: label\noptions: {3: 3}\n", "options has the name 3; names are words"),
    ("target: label\nseed: one\n", "seed='one' must be a whole number"),
    ("target: {label: 1}\n", "target={'label': 1} must be the name of a column, or a list of names"),
    ("target: label\nmax_bad: true\n", "max_bad=True must be a share"),
])
def test_a_recipe_with_a_mistake(run, shop, tmp_path, text, words):
    (tmp_path / "r.yaml").write_text(text)
    code, _, err = run("fit", shop, "--recipe", "r.yaml", "--out", "m")
    assert code == 2 and words in one_line(err)


def test_a_folder_of_something_else_is_refused_before_any_work(run, shop, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.txt").write_text("x")
    code, _, err = run("fit", shop, "--target", "label", "--out", "photos")
    assert code == 2 and one_line(err) == (
        "polysense: photos exists and holds something other than a model; name another folder or empty it")
    assert err.count("\n") == 1


def test_an_existing_model_is_replaced(run, shop, tmp_path):
    for seed in (1, 2):
        assert run("fit", shop, "--target", "label", "--out", "m", "--seed", seed, *TINY)[0] == 0
    assert recipe_of(tmp_path / "m")["recipe"]["seed"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m"]


# bad cells ---------------------------------------------------------------------------------------------------


@pytest.fixture
def broken(tmp_path):
    """20 records with pictures; rows 3 and 9 name files that are not there."""
    rows = records(20, views="picture table", folder=tmp_path, missing=0)
    for row in (3, 9):
        rows[row]["picture"] = f"media/lost-{row}.png"
    return write_table(tmp_path / "t.csv", rows)


PICTURE = ["--target", "label", "--out", "m", "--encoder", "picture=image.plain", *TINY]


def test_bad_cells_are_named_and_every_row_is_answered(run, broken, tmp_path):
    assert run("fit", broken, *PICTURE)[0] == 0
    code, out, err = run("predict", "m", broken)
    assert code == 0 and len(out.splitlines()) == 21
    assert "2 cells in 2 of 20 records cannot be read:" in err
    assert re.search(r"row 3, column 'picture': .*lost-3.*\(masked\)", err)


def test_dropped_rows_keep_their_line_with_an_empty_prediction(run, broken):
    assert run("fit", broken, *PICTURE, "--on-bad", "drop")[0] == 0
    lines = list(csv.DictReader(io.StringIO(run("predict", "m", broken)[1])))
    assert len(lines) == 20
    assert [int(line["row"]) for line in lines if not line["prediction"]] == [3, 9]
    assert lines[3]["probability_sun"] == "" and lines[4]["probability_sun"] != ""


def test_too_many_bad_cells_and_the_policy_error(run, broken, tmp_path):
    code, _, err = run("fit", broken, *PICTURE, "--max-bad", "0.05")
    assert code == 2 and "2 of 20 pictures cannot be read (10 %, limit 5 %): first in row 3" in one_line(err)
    assert str(tmp_path) in err, "it says which folder was looked in"
    code, _, err = run("fit", broken, *PICTURE, "--on-bad", "error")
    assert code == 2 and "column 'picture', row 3" in one_line(err)


# other ends ---------------------------------------------------------------------------------------------------


def test_what_could_not_be_finished_is_exit_code_1(run, shop, monkeypatch):
    def full(*arguments, **more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    code, _, err = run("fit", shop, "--target", "label", "--out", "m", *TINY)
    assert code == 1 and err.splitlines()[-1] == (
            "polysense: the model could not be written to m: No space left on device; --resume goes on from m.fitting"
        )


def test_an_output_that_cannot_be_written_is_exit_code_1(run, shop, tmp_path):
    (tmp_path / "file").write_text("x")
    for arguments in (["evaluate", shop.parent / "model", shop, "--json", "file/e.json"],
                      ["evaluate", shop.parent / "model", shop, "--html", "file/r.html"],
                      ["predict", shop.parent / "model", shop, "--out", "file/a.csv"]):
        code, _, err = run(*arguments)
        assert code == 1 and re.search("(could not|cannot) be written", one_line(err)), err


def test_an_interruption_is_exit_code_130(run, shop, monkeypatch):
    def stop(*arguments, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr("polysense.model.Model.fit", stop)
    code, _, err = run("fit", shop, "--target", "label", "--out", "m")
    assert (code, err) == (130, "polysense: interrupted\n")


def test_every_class_of_errors_reaches_the_command_line_as_one_line(run, shop, monkeypatch):
    for kind in (errors.BadTable, errors.LossNotFinite, errors.UnknownName, errors.MissingExtra):
        def fail(*arguments, kind=kind, **more):
            raise kind("something is\nwrong")

        monkeypatch.setattr("polysense.model.Model.fit", fail)
        code, out, err = run("fit", shop, "--target", "label", "--out", "m")
        assert (code, out, err) == (kind.exit_code, "", "polysense: something is wrong\n")


def test_a_bug_keeps_its_traceback(monkeypatch, shop):
    def fail(*arguments, **more):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("polysense.model.Model.fit", fail)
    monkeypatch.setattr(sys, "argv", ["polysense", "fit", str(shop), "--target", "label", "--out", "nowhere"])
    with pytest.raises(ZeroDivisionError):
        cli.main()


def test_the_version(run):
    from importlib.metadata import version

    assert run("--version") == (0, f"polysense {version('polysense')}\n", "")


def test_ctrl_c_while_everything_is_read_in_is_one_line(shop):
    """From the command's own first line on (before it Python itself is starting): in its imports, in those of numpy and torch."""
    code = (
        "import os, signal, sys\n"
        "word = sys.argv.pop(1)\n"
        "sys.argv = ['polysense', 'predict', *sys.argv[1:]]\n"
        "class Press:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == word: os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Press())\n"
        "from polysense import __main__\n"
        "__main__.main()"
    )
    for word in ("typer", "numpy", "torch"):
        done = subprocess.run(
            [sys.executable, "-c", code, word, str(shop.parent / "model"), str(shop)],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        assert (done.returncode, done.stderr) == (130, "polysense: interrupted\n"), word


@pytest.mark.parametrize(("fusion", "option", "words"), [
    ("attention", "hidden=0", "fusion.hidden=0 must be at least 1"),
    ("transformer", "depth=0", "fusion.depth=0 must be at least 1"),
    ("transformer", "heads=5", "fusion.heads=5 must divide the width 8"),
    ("transformer", "dropout=1.0", "fusion.dropout=1.0 must be at least 0 and below 1"),
    ("concat", "dropout=-0.5", "fusion.dropout=-0.5 must be at least 0"),
    ("gated", "dropout=2.0", "fusion.dropout=2.0 must be at least 0"),
    ("sum", "temperature=0.0", "fusion.temperature=0.0 must be above 0"),
])
def test_an_impossible_fusion_is_refused_before_any_encoder_is_fitted(run, shop, monkeypatch, fusion, option, words):
    monkeypatch.setattr("polysense.estimator.choose_encoders", lambda *_, **__: pytest.fail("too late"))
    code, _, err = run("fit", shop, "--target", "label", "--out", "m", "--fusion", fusion, "--set", f"fusion.{option}", *TINY)
    assert code == 2 and words in one_line(err)
