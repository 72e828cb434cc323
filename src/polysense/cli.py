"""The command line. Talk goes to stderr, results to stdout or the named file, a mistake is one line."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from . import cli_match, cli_recommend, processes
from .typed import defaults_of, settings_of, ways_of, write

# Set before numpy and torch load: on shared cores several threads are slower than one.
os.environ.setdefault("OMP_NUM_THREADS", "1")


class _Command(typer.core.TyperCommand):
    """A command whose help shows its options in groups: plain text, 80 columns and pipes alike."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            kind = "Arguments" if parameter.param_type_name == "argument" else "Options"
            shown = parameter.get_help_record(ctx)
            if shown:
                shown = (re.sub(r" <[A-Za-z\[\]]+>", "", shown[0]), shown[1])
                groups.setdefault(getattr(parameter, "rich_help_panel", None) or kind, []).append(shown)
        for title in sorted(groups, key=lambda title: title not in ("Arguments", "Options")):
            with formatter.section(title):
                formatter.write_dl(groups[title])

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [piece.replace("{", "").replace("}", "") for piece in super().collect_usage_pieces(ctx)]

    def get_help(self, ctx: Any) -> str:
        return super().get_help(ctx) + "\n"


app = typer.Typer(
    name="polysense", add_completion=False, rich_markup_mode=None,
    pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]},
    help="One model from a table whose cells are text, pictures, sounds, numbers and categories.\n\n"
    "Start with: polysense demo. With your own table: polysense fit TABLE --target COLUMN --out DIR, "
    "then polysense evaluate DIR TABLE --subsets, then polysense predict DIR TABLE.",
)


def _version(wanted: bool) -> None:
    """Print the version and leave."""
    if wanted:
        from importlib.metadata import version

        print(f"polysense {version('polysense')}")
        raise typer.Exit


@app.callback()
def _polysense(
    version: Annotated[bool, typer.Option("--version", help="Say the version and exit.", callback=_version, is_eager=True)] = False,
) -> None:
    pass


def _command(*examples: str, name: str | None = None) -> Any:
    """A command of ours whose help ends with examples."""
    lines = "\n".join(f"  polysense {example}" for example in examples)
    return app.command(name=name, cls=_Command, epilog=f"\b\nFor example:\n{lines}")


Table = Annotated[Path, typer.Argument(metavar="TABLE", help="CSV, TSV, JSONL, Parquet or Arrow file, or a folder with a folder of files for each class (columns image, audio, text; label).")]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A model folder that fit wrote, or the id of one on the Hugging Face Hub that is in its cache here.")]
Download = Annotated[bool, typer.Option("--download", help="Allow a hub id to be downloaded; nothing else uses the network.")]
# Groups of fit's options.
COLUMNS, PARTS, RECORDS = "The columns", "The model", "The records"


@_command("demo --out my-demo")
def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the tables, the model and the report.")] = Path("polysense-demo"),
    set_: Annotated[str, typer.Option("--set", metavar="SET", help="stamps (fetched by apt-get: pictures, English, Chinese, speech, sounds, numbers) or emoji (fetched by npm: pictures, English, Chinese). Where the stamps cannot be had emoji stand in, then made-up records.")] = "stamps",
) -> None:
    """Train, judge and use a model on a real set of records."""
    from . import demo as sets
    from .judge.evaluate import as_text
    from .model import Model
    from .talk import Talk

    talk = Talk()
    prepared = sets.prepare(out, kind=set_, progress=talk.say)
    train, valid, test = prepared.paths
    talk.say(f"\n{prepared.note}\nTraining on {train}")
    model = Model("label", group="group", verbose=True).fit(train, valid=valid)
    model.save(out / "model")
    talk.say(f"\nJudging every subset of views on records the model has never seen ({test})")
    evaluation = model.evaluate(test, subsets=True)
    print(as_text(evaluation))
    (out / "report.html").write_text(model.report(evaluation, test, f"polysense demo ({prepared.source})"), encoding="utf-8")
    _show_some(model, test)
    print(
        f"\nThe report: {out / 'report.html'}\n\nWith a table of your own:\n"
        "  polysense fit TABLE --target COLUMN --out model\n"
        "  polysense evaluate model TABLE --subsets --html report.html\n"
        "  polysense predict model TABLE --out answers.csv"
    )


@_command(
    "fit shop.csv --target label --out model",
    "fit shop.csv --target label --out model --columns size=number,code=ignore",
    "fit shop.csv --target label --out model --group customer --set train.epochs=40",
)
def fit(
    table: Table,
    target: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column to predict; several at once with commas.", show_default=False)] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for the model; a model there is replaced.", show_default=False)] = None,
    columns: Annotated[list[str], typer.Option(metavar="NAME=KIND,...", help="Kinds where the guess is to be overruled: text, image, audio, number, category, date, flag, id or ignore; may be repeated.", rich_help_panel=COLUMNS)] = [],
    views: Annotated[list[str], typer.Option(metavar="VIEW=COLUMN+COLUMN", help="Columns that form one view together: texts are joined by a newline, pictures and sounds stand in one record; may be repeated.", rich_help_panel=COLUMNS)] = [],
    group: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column whose equal values are never split (speaker, patient).", show_default=False, rich_help_panel=COLUMNS)] = None,
    split: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column that says train, valid or test; rows of test are left out.", show_default=False, rich_help_panel=COLUMNS)] = None,
    valid: Annotated[Path | None, typer.Option(metavar="TABLE", help="Validation table. [default: a fifth of TABLE]", show_default=False, rich_help_panel=RECORDS)] = None,
    on_bad: Annotated[str | None, typer.Option(metavar="POLICY", help="Unreadable cells: error, mask or drop. [default: mask]", show_default=False, rich_help_panel=RECORDS)] = None,
    max_bad: Annotated[float | None, typer.Option(metavar="SHARE", help="Share of a column's cells that may be unreadable. [default: 0.2]", show_default=False, rich_help_panel=RECORDS)] = None,
    task: Annotated[str | None, typer.Option(metavar="NAME|TARGET=NAME,...", help="Task, see: polysense list tasks; of several targets one for all, or one for each. [default: guessed: classify, or regress for a target of many numbers; texts are written by caption]", show_default=False, rich_help_panel=PARTS)] = None,
    fusion: Annotated[str | None, typer.Option(metavar="NAME", help="Fusion, see: polysense list fusions. [default: the task's own: concat, of words tokens]", show_default=False, rich_help_panel=PARTS)] = None,
    encoder: Annotated[list[str], typer.Option(metavar="VIEW=NAME", help="Encoder of a view, see: polysense list encoders. image.pretrained:TOWER takes a tower's name, a folder or a hub id. VIEW=auto tries those there are and lets validation choose; auto alone does so for all other views. May be repeated.", rich_help_panel=PARTS)] = [],
    set_: Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Option, such as train.epochs=20, fusion.heads=2, task.smoothing=0, VIEW.pixels=64, see: polysense list training; may be repeated.", rich_help_panel=PARTS)] = [],
    tune: Annotated[str | None, typer.Option(metavar="VIEWS|all", help="Views whose towers are trained too, with commas; how: --set tune.epochs=4 and other options, see: polysense list training.", show_default=False, rich_help_panel=PARTS)] = None,
    seed: Annotated[int | None, typer.Option(metavar="NUMBER", help="Seed of everything random. [default: 0]", show_default=False, rich_help_panel=PARTS)] = None,
    folds: Annotated[int | None, typer.Option(metavar="K", help="Cross validation: K models, each on all but one fold; every record is judged by the one that has not seen it, answers are averaged.", show_default=False, rich_help_panel=RECORDS)] = None,
    seeds: Annotated[int | None, typer.Option(metavar="N", help="N models of N seeds on the same records: their spread, and the average of their answers.", show_default=False, rich_help_panel=PARTS)] = None,
    quality: Annotated[str | None, typer.Option(metavar="fast|balanced|best", help="How much work: fast (plain features, one member, no tower runs), balanced, or best (encoders tried, several models; towers tuned where there is a GPU). What you name yourself stays. [default: balanced]", show_default=False, rich_help_panel=PARTS)] = None,
    recipe: Annotated[Path | None, typer.Option(metavar="FILE", help="YAML file with these settings; what is typed wins.", show_default=False)] = None,
    with_towers: Annotated[bool, typer.Option("--with-towers", help="Copy the towers into the model folder.")] = False,
    download: Download = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the fit of the same DIR that was interrupted or killed.")] = False,
    time_limit: Annotated[float | None, typer.Option("--time-limit", metavar="SECONDS", help="End training in time; the model is what was learned until then.", show_default=False)] = None,
    tensorboard: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for TensorBoard files of the training.", show_default=False)] = None,
) -> None:
    """Learn from a table and write the model."""
    typed = {
        "target": target, "task": task, "fusion": fusion, "group": group, "split": split, "seed": seed,
        "on_bad": on_bad, "max_bad": max_bad, "tune": tune, "time_limit": time_limit,
        "tensorboard": str(tensorboard) if tensorboard else None, "folds": folds, "seeds": seeds,
        "quality": quality,
    }
    settings = settings_of("model", recipe, typed, columns, views, encoder, set_)
    table, valid = _begin(settings, table, valid, out)
    unfinished = out.with_name(f"{out.name}.fitting")
    with _stoppable(unfinished):
        from .judge.evaluate import as_text
        from .model import Model

        model = Model(**settings, download=download, verbose=True)
        model.fit(table, valid=valid, checkpoints=unfinished, resume=resume)
        model.save(out, with_towers=with_towers)
    if not processes.first():
        return
    if model.valid_:
        where = "Out of fold, each record judged by the model that has not seen it" if model.several_ and model.several_.kind == "folds" else "On the validation records"
        print(f"\n{where}:\n" + as_text(model.valid_), file=sys.stderr)
    print(f"\nThe model: {out}", file=sys.stderr)


def _begin(settings: dict[str, Any], table: Path, valid: Path | None, out: Path | None) -> tuple[Any, Any]:
    """The tables, read; every mistake that can be known without torch is told here, in a moment."""
    from . import store
    from .data.records import as_records
    from .errors import BadOption
    from .learn.begin import begin
    from .learn.plan import check_several

    if not settings.get("target"):
        raise BadOption("no target is named; say which column to predict with --target COLUMN")
    if out is None:
        raise BadOption("no folder for the model is named; say --out DIR")
    if valid and settings.get("split"):
        raise BadOption("both --valid and --split say which records validate; give one of them")
    if processes.first():
        store.recover(out)
    store.check_target(out)
    tables = as_records(table), as_records(valid) if valid else None
    if table.is_dir() and not valid and "split" in tables[0].names:
        settings.setdefault("split", "split")  # train, valid and test folders
    defaults = defaults_of("model") | settings
    check_several(defaults["folds"], defaults["seeds"], defaults["tune"])
    begin(defaults, tables[0], None, tables[1], say=lambda text: None)
    return tables


@_command(
    "match shop.csv --query title --item photo --out matcher",
    "match shop.csv --query title,speech --item photo,price --out matcher --group customer",
)
def match(
    table: Table,
    query: Annotated[str | None, typer.Option(metavar="COLUMN,...", help="Columns of the side that asks.", show_default=False)] = None,
    item: Annotated[str | None, typer.Option(metavar="COLUMN,...", help="Columns of the side that is found.", show_default=False)] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for the matcher; a model there is replaced.", show_default=False)] = None,
    columns: Annotated[list[str], typer.Option(metavar="NAME=KIND,...", help="Kinds where the guess is to be overruled; may be repeated.", rich_help_panel=COLUMNS)] = [],
    views: Annotated[list[str], typer.Option(metavar="VIEW=COLUMN+COLUMN", help="Columns of one side that form one view together; may be repeated.", rich_help_panel=COLUMNS)] = [],
    group: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column whose equal values are never split (speaker, product line).", show_default=False, rich_help_panel=COLUMNS)] = None,
    split: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column that says train, valid or test; rows of test are left out.", show_default=False, rich_help_panel=COLUMNS)] = None,
    valid: Annotated[Path | None, typer.Option(metavar="TABLE", help="Validation table. [default: a fifth of TABLE]", show_default=False, rich_help_panel=RECORDS)] = None,
    on_bad: Annotated[str | None, typer.Option(metavar="POLICY", help="Unreadable cells: error, mask or drop. [default: mask]", show_default=False, rich_help_panel=RECORDS)] = None,
    max_bad: Annotated[float | None, typer.Option(metavar="SHARE", help="Share of a column's cells that may be unreadable. [default: 0.2]", show_default=False, rich_help_panel=RECORDS)] = None,
    fusion: Annotated[str | None, typer.Option(metavar="NAME", help="Fusion of a side's views, see: polysense list fusions; none that combines answers. [default: concat]", show_default=False, rich_help_panel=PARTS)] = None,
    encoder: Annotated[list[str], typer.Option(metavar="VIEW=NAME", help="Encoder of a view, see: polysense list encoders; may be repeated.", rich_help_panel=PARTS)] = [],
    set_: Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Option, such as match.loss=sigmoid, match.epochs=20, VIEW.pixels=64, see: polysense list training; may be repeated.", rich_help_panel=PARTS)] = [],
    tune: Annotated[str | None, typer.Option(metavar="VIEWS|all", help="Views whose towers are trained too, with commas.", show_default=False, rich_help_panel=PARTS)] = None,
    seed: Annotated[int | None, typer.Option(metavar="NUMBER", help="Seed of everything random. [default: 0]", show_default=False, rich_help_panel=PARTS)] = None,
    recipe: Annotated[Path | None, typer.Option(metavar="FILE", help="YAML file with these settings; what is typed wins.", show_default=False)] = None,
    with_towers: Annotated[bool, typer.Option("--with-towers", help="Copy the towers into the folder.")] = False,
    download: Download = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the fit of the same DIR that was interrupted or killed.")] = False,
    time_limit: Annotated[float | None, typer.Option("--time-limit", metavar="SECONDS", help="End training in time.", show_default=False)] = None,
    tensorboard: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for TensorBoard files of the training.", show_default=False)] = None,
) -> None:
    """Learn which items belong to which queries: pictures to texts, voices to faces, any views to any others.

    Each row of TABLE holds a query and its item; then: polysense index DIR TABLE, and polysense search DIR --text WORDS.
    """
    typed = {
        "query": query, "item": item, "fusion": fusion, "group": group, "split": split, "seed": seed, "on_bad": on_bad, "max_bad": max_bad,
        "tune": tune, "time_limit": time_limit, "tensorboard": str(tensorboard) if tensorboard else None,
    }
    cli_match.match(
        settings_of("matcher", recipe, typed, columns, views, encoder, set_), table, valid, out, stoppable=_stoppable,
        download=download, with_towers=with_towers, resume=resume,
    )


Matched = Annotated[Path, typer.Argument(metavar="DIR", help="A folder that match wrote, or the id of one on the Hugging Face Hub that is in its cache here.")]
Among = Annotated[str, typer.Option("--side", metavar="item|query", help="The side that is to be found; the other one asks.")]
IndexPlace = Annotated[Path | None, typer.Option("--index", metavar="FOLDER", help="Where the index lies. [default: DIR/index-item, or index-query]", show_default=False)]


@_command("index matcher shop.csv", "index matcher new.csv --add", "index matcher gone.csv --delete")
def index(
    folder: Matched, table: Table, place: IndexPlace = None, side: Among = "item",
    add: Annotated[bool, typer.Option("--add", help="Add to the index that is there; equal ids are replaced. Otherwise a new index takes its place.")] = False,
    delete: Annotated[bool, typer.Option("--delete", help="Take the table's ids out of the index.")] = False,
    server: Annotated[str | None, typer.Option("--server", metavar="URL", help="Qdrant server that holds the vectors, its collection as path: http://127.0.0.1:6333/shop.", show_default=False)] = None,
    download: Download = False,
) -> None:
    """Put a table's items into an index, with their ids and all columns.

    Rows without a column of ids (id, *_id, uuid) are named by their number. Fitting DIR anew takes an index in it away.
    """
    cli_match.index(folder, table, place=place, side=side, add=add, delete=delete, server=server, download=download)


@_command("search matcher --text 'a red car'", "search matcher --image photo.png --text 'the same in blue' -k 5", "search matcher --row '{\"title\": \"red car\"}' --json")
def search(
    folder: Matched,
    text: Annotated[str | None, typer.Option("--text", metavar="TEXT", help="Words to search by.", show_default=False)] = None,
    image: Annotated[Path | None, typer.Option("--image", metavar="FILE", help="A picture to search by.", show_default=False)] = None,
    audio: Annotated[Path | None, typer.Option("--audio", metavar="FILE", help="A sound to search by.", show_default=False)] = None,
    row: Annotated[str | None, typer.Option("--row", metavar="JSON", help="Columns to search by: '{\"COLUMN\": VALUE}'. All of these may be given together.", show_default=False)] = None,
    k: Annotated[int, typer.Option("-k", metavar="NUMBER", help="How many to show.")] = 10,
    place: IndexPlace = None, side: Among = "item",
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV; so it does anyway where no terminal reads it.")] = False,
    download: Download = False,
) -> None:
    """Find the nearest entries of an index."""
    asked = {"text": text, "image": image, "audio": audio, "row": row}
    cli_match.search(folder, asked=asked, k=k, place=place, side=side, json_=json_, csv=csv, download=download)


@_command("embed matcher shop.csv --out vectors.npy", "embed matcher shop.csv --side query --out vectors.parquet")
def embed(
    folder: Matched, table: Table,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="File to write: .npy, or .parquet with rows and ids.", show_default=False)] = None,
    side: Annotated[str, typer.Option("--side", metavar="item|query", help="Whose vectors.")] = "item",
    download: Download = False,
) -> None:
    """Write the vectors of a table's items or queries, one for each row; zeros where the side is empty."""
    cli_match.embed(folder, table, out=out, side=side, download=download)


@_command(
    "recommend orders.csv --items shop.csv --user customer --item article --out recommender",
    "recommend orders.csv --items shop.csv --user customer --item article --time date --out recommender",
)
def recommend(
    table: Annotated[Path, typer.Argument(metavar="INTERACTIONS", help="Table of who took what: a user and an item in each row.")],
    items: Annotated[Path | None, typer.Option(metavar="TABLE", help="Table of the items: ids, and any columns that describe them.", show_default=False)] = None,
    user: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column of the users. [default: user]", show_default=False)] = None,
    item: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column of the items' ids, in both tables. [default: item]", show_default=False)] = None,
    time: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column that orders each history. [default: the table's order]", show_default=False)] = None,
    weight: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column of numbers above 0: how much an interaction counts.", show_default=False)] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for the recommender; a model there is replaced.", show_default=False)] = None,
    valid: Annotated[Path | None, typer.Option(metavar="TABLE", help="Later interactions that validate. [default: see --split]", show_default=False, rich_help_panel=RECORDS)] = None,
    split: Annotated[str | None, typer.Option(metavar="last|time", help="What validates: each user's last item, or the last tenth of all interactions. [default: last]", show_default=False, rich_help_panel=RECORDS)] = None,
    on_bad: Annotated[str | None, typer.Option(metavar="POLICY", help="Unreadable cells of items: error or mask. [default: mask]", show_default=False, rich_help_panel=RECORDS)] = None,
    max_bad: Annotated[float | None, typer.Option(metavar="SHARE", help="Share of a column's cells, and of the interactions, that may be unusable. [default: 0.2]", show_default=False, rich_help_panel=RECORDS)] = None,
    columns: Annotated[list[str], typer.Option(metavar="NAME=KIND,...", help="Kinds of the items' columns where the guess is to be overruled; may be repeated.", rich_help_panel=COLUMNS)] = [],
    views: Annotated[list[str], typer.Option(metavar="VIEW=COLUMN+COLUMN", help="Columns that form one view together; may be repeated.", rich_help_panel=COLUMNS)] = [],
    fusion: Annotated[str | None, typer.Option(metavar="NAME", help="Fusion, see: polysense list fusions. [default: concat]", show_default=False, rich_help_panel=PARTS)] = None,
    encoder: Annotated[list[str], typer.Option(metavar="VIEW=NAME", help="Encoder of a view of the items, see: polysense list encoders; may be repeated.", rich_help_panel=PARTS)] = [],
    set_: Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Option, such as recommend.epochs=20, VIEW.pixels=64, see: polysense list training; may be repeated.", rich_help_panel=PARTS)] = [],
    tune: Annotated[str | None, typer.Option(metavar="VIEWS|all", help="Views whose towers are trained too, with commas; kept only where validation gains.", show_default=False, rich_help_panel=PARTS)] = None,
    seed: Annotated[int | None, typer.Option(metavar="NUMBER", help="Seed of everything random. [default: 0]", show_default=False, rich_help_panel=PARTS)] = None,
    recipe: Annotated[Path | None, typer.Option(metavar="FILE", help="YAML file with these settings; what is typed wins.", show_default=False)] = None,
    with_towers: Annotated[bool, typer.Option("--with-towers", help="Copy the towers into the folder.")] = False,
    download: Download = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the fit of the same DIR that was interrupted or killed.")] = False,
    time_limit: Annotated[float | None, typer.Option("--time-limit", metavar="SECONDS", help="End training in time, with what was learned until then.", show_default=False)] = None,
    tensorboard: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for TensorBoard files of the training.", show_default=False)] = None,
) -> None:
    """Learn what users take, from their histories and the items' views, so that new items are recommended too.

    INTERACTIONS has a row for each time somebody took something (user, item), --items a row for each item: its id, and pictures,
    texts, sounds, numbers, categories that describe it, any of them missing. Then: polysense predict DIR USERS,
    polysense evaluate DIR LATER-INTERACTIONS --html report.html.
    """
    typed = {
        "user": user, "item": item, "time": time, "weight": weight, "split": split, "on_bad": on_bad, "max_bad": max_bad, "fusion": fusion,
        "tune": tune, "seed": seed, "time_limit": time_limit, "tensorboard": str(tensorboard) if tensorboard else None,
    }
    settings = settings_of("recommender", recipe, typed, columns, views, encoder, set_)
    cli_recommend.recommend(
        settings, table, items, valid, out, stoppable=_stoppable, download=download, with_towers=with_towers, resume=resume,
    )


New = Annotated[Path | None, typer.Option("--items", metavar="TABLE", help="Of a recommender: a table of items; new ones among them may be recommended too, and the report shows what it holds.", show_default=False)]


@_command(
    "predict model new.csv --out answers.csv", "predict model new.csv | head",
    "predict captions new.csv --set task.decoding=beam --attention looked.html",
    "predict recommender users.csv -k 5",
    "predict speech new.csv --out texts.csv --subtitles subtitles",
)
def predict(
    folder: Folder, table: Table,
    out: Annotated[Path | None, typer.Option(help="CSV file to write. [default: standard output]", show_default=False)] = None,
    set_: Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Of a model that answers with words: how they are chosen, such as task.decoding=beam, task.beams=8, task.longest=20; may be repeated.")] = [],
    attention: Annotated[Path | None, typer.Option(metavar="FILE", help="Of a caption: HTML page of up to 24 records, each word beside where the decoder looked.", show_default=False)] = None,
    subtitles: Annotated[Path | None, typer.Option(metavar="DIR", help="Of a model that transcribes: folder for an SRT file of each record, named by its row.", show_default=False)] = None,
    lang: Annotated[str, typer.Option(help="Language of that page: en or zh.")] = "en",
    k: Annotated[int | None, typer.Option("-k", metavar="NUMBER", help="Of a recommender: items for each user. [default: 10]", show_default=False)] = None,
    items: New = None,
    download: Download = False,
) -> None:
    """Answer every record: one line each, in the table's order.

    Of a recommender the table holds users (its column of users), or histories (column history: ids with ; between).
    """
    from .data.records import write_lines
    from .judge.words import Words
    from .talk import Talk

    Words(lang)  # a wrong language is told before anything is computed
    (model, records), talk = _opened(folder, table, download), Talk()
    if hasattr(model, "recommend"):
        refused = {"--set": set_, "--attention": attention, "--subtitles": subtitles}
        names, lines = cli_recommend.predict(model, records, k=10 if k is None else k, items=items, refused=refused)
        return write_lines(out, names, lines) if out else _print_csv(names, lines)
    _answering(model, folder)
    _for_recommenders({"-k": k, "--items": items})
    if set_:
        model.tell_as(**ways_of(set_))
    if attention:
        write(attention, model.attention_page(records, lang=lang))
    if subtitles:
        from .subtitles import cues, written

        for row, words in enumerate(model.words(records)):
            write(subtitles / f"{row}.srt", written(cues(words), "srt"))
    answers = model.answers(records)
    for remark in answers.remarks:
        talk.say(remark)
    talk.bad_cells(answers.bad_cells, len(answers.records))
    names, lines = _answer_lines(model, answers)
    if out:
        write_lines(out, names, lines)
    else:
        _print_csv(names, lines)


@_command("evaluate model test.csv --subsets --html report.html", "evaluate model test.csv --json scores.json")
def evaluate(
    folder: Folder, table: Table,
    subsets: Annotated[bool, typer.Option("--subsets", help="Judge every subset of views beside its specialist.")] = False,
    by: Annotated[str | None, typer.Option(metavar="COLUMN", help="Scores for each value of a column too.", show_default=False)] = None,
    measures: Annotated[str | None, typer.Option("--measures", metavar="all|NAMES", help="Further measures of scikit-learn, with commas, each with its interval: mcc,kappa,roc_auc_ovr,top_2,brier ...; medae,mape ... of numbers; an unknown name lists them.", show_default=False)] = None,
    json_: Annotated[Path | None, typer.Option("--json", help="File for the figures.", show_default=False)] = None,
    html: Annotated[Path | None, typer.Option(help="File for the report.", show_default=False)] = None,
    lang: Annotated[str, typer.Option(help="Language of the report: en or zh.")] = "en",
    items: New = None,
    download: Download = False,
) -> None:
    """Score a model on a table that holds the target.

    Prints scores with intervals beside the baselines; with --subsets every set of views too.
    """
    from .judge.words import Words

    Words(lang)  # a wrong language is told before anything is computed
    from .judge.evaluate import as_text

    model, records = _opened(folder, table, download)
    if hasattr(model, "recommend"):
        refused = {"--subsets": subsets, "--by": by, "--measures": measures}
        return cli_recommend.evaluate(model, records, items=items, json_=json_, html=html, lang=lang, refused=refused)
    _for_recommenders({"--items": items})
    if not hasattr(model, "predict"):
        refused = {"--subsets": subsets, "--by": by, "--measures": measures}
        return cli_match.evaluate(model, records, json_=json_, html=html, lang=lang, refused=refused)
    model.verbose = True
    evaluation = model.evaluate(records, subsets=subsets, by=by, measures=measures)
    if json_:
        write(json_, json.dumps(evaluation, ensure_ascii=False, indent=1, allow_nan=False) + "\n")
    if html:
        write(html, model.report(evaluation, records, lang=lang))
    print(as_text(evaluation))


def _opened(place: Path, table: Path, download: bool) -> tuple[Any, Any]:
    """A model and a table; what is wrong with either is told before torch loads."""
    from . import store
    from .data.records import as_records
    from .hub import find_model

    folder = find_model(place, fetch=download)
    store.check_model(folder)
    records = as_records(table)
    from .opening import load

    return load(folder, download=download), records


def _for_recommenders(options: dict[str, Any]) -> None:
    """Refuse what only a recommender has a use for."""
    from .errors import BadOption

    for option, given in options.items():
        if given is not None:
            raise BadOption(f"{option} is for recommenders (polysense recommend), and this is none; leave it away")


def _answering(model: Any, folder: Path) -> None:
    """Refuse a matcher where an answer is asked for."""
    from .errors import BadModel

    if not hasattr(model, "predict"):
        raise BadModel(f"{folder} holds a matcher, which predicts nothing; use polysense search or polysense embed")


@_command("transcribe call.wav", "transcribe talk.mp3 --srt > talk.srt", "transcribe *.wav --vtt --out subtitles", "transcribe call.wav --model whisper-base --language zh", "transcribe call.wav --model my-model --srt")
def transcribe(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Sound files: wav, flac, ogg, mp3.")],
    model: Annotated[str | None, typer.Option(metavar="NAME", help="A Whisper: name of a tower (polysense list towers), folder or hub id; or the folder of a model of yours (polysense fit --task transcribe). [default: the first Whisper on this machine]", show_default=False)] = None,
    language: Annotated[str, typer.Option(metavar="CODE", help="Such as en or zh; auto lets the network tell.")] = "auto",
    srt: Annotated[bool, typer.Option("--srt", help="Write subtitles as SRT.")] = False,
    vtt: Annotated[bool, typer.Option("--vtt", help="Write subtitles as WebVTT.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for one file of each sound (.txt, .srt or .vtt); without it all is printed.", show_default=False)] = None,
    translate: Annotated[bool, typer.Option("--translate", help="Write English whatever is spoken.")] = False,
    beams: Annotated[int, typer.Option(metavar="NUMBER", help="Hypotheses kept by the search; 1 is fastest.")] = 5,
    engine: Annotated[str, typer.Option(metavar="NAME", help="faster (faster-whisper), torch (transformers), or auto: the first where it can be.")] = "auto",
    prompt: Annotated[str, typer.Option(metavar="TEXT", help="Words that go before, whose names and manner of writing Whisper may follow; on short sounds it may add to what is said.", show_default=False)] = "",
    download: Download = False,
) -> None:
    """Write down what is said in sound files; nothing is trained.

    Prints the words of a file; of several files a line each, behind the file's name. A file that cannot be read is told on
    stderr, and the exit code is then 2.
    """
    from .errors import BadOption, BadRecord
    from .talk import Talk

    form = "srt" if srt else "vtt" if vtt else ""
    if srt and vtt:
        raise BadOption("--srt and --vtt are two forms; give one of them")
    if form and len(files) > 1 and out is None:
        raise BadOption(f"subtitles of {len(files)} files need a folder; add --out DIR")
    from .transcripts import heard, opened

    talk, bad, alike = Talk(), 0, len({file.stem for file in files}) < len(files)
    made = opened(model, language=language, translate=translate, beams=beams, how=engine, download=download, prompt=prompt)
    with talk.bar("transcribed", len(files)) as advance:
        for file in files:
            try:
                found = heard(made, file)
            except BadRecord as error:
                bad += 1
                talk.say(f"polysense: {error}")
                continue
            finally:
                advance(1)
            text = found.subtitles(form) if form else found.text + "\n"
            if out:
                write(out / f"{file.name if alike else file.stem}.{form or 'txt'}", text)
            else:
                print(text if form or len(files) == 1 else f"{file}\t{text}", end="")
    if bad:
        raise typer.Exit(2)


@_command("list encoders", "list image.cnn", "list training", name="list")
def list_(
    shelf: Annotated[str | None, typer.Argument(metavar="[modalities|encoders|fusions|tasks|towers|training|NAME]", help="Which shelf, or which entry of one; all shelves if none is named.", show_default=False)] = None,
) -> None:
    """List what there is to choose from.

    Of a shelf that is named, every entry is shown with its options and their defaults; of an entry, such as image.cnn,
    what it does, where it comes from, when it wins and what it costs too.
    """
    from . import registry
    from .errors import UnknownName

    shelves = {name: getattr(registry, name) for name in ("modalities", "encoders", "fusions", "tasks")}
    if entry := next((entries for entries in shelves.values() if shelf in entries), None):
        print(_entry(entry, shelf))
        return
    if shelf not in (None, "towers", "training", *shelves):
        if "." in shelf:
            raise UnknownName(f"there is no encoder '{shelf}'; {registry.suggest(shelf, list(registry.encoders))}")
        raise UnknownName(f"there is no shelf '{shelf}'; {registry.suggest(shelf, [*shelves, 'towers', 'training'])}")
    for name, entries in shelves.items():
        if shelf in (None, name):
            print(f"{name}")
            for entry in map(entries.about, entries):
                print(f"  {entry.name:<18} {entry.summary}")
                for option in entry.options.values() if shelf else ():
                    print(f"  {'':<18}   {_described(option)}")
    if shelf in (None, "towers"):
        from .modality.towers import TOWERS, on_disk

        print("towers (the first one on disk that states the column's language is a view's default)")
        wide = max(len(tower.name) for tower in TOWERS)
        for tower in TOWERS:
            there = "on disk" if on_disk(tower) else f"not on disk: {tower.cure}"
            print(f"  {tower.name:<{wide}} {tower.modality:<6} {'/'.join(tower.languages) or '-':<5} {tower.licence:<11} {there}")
            if shelf:
                print(f"  {'':<{wide}} {tower.summary}")
    if shelf in (None, "training"):
        from .learn.plan import SETTINGS
        from .learn.recommending import Recommending

        print("training (--set KEY=VALUE)")
        for section, holder in {**SETTINGS, "recommend": Recommending}.items():
            options = registry.options_of(holder)
            if shelf:
                for option in options.values():
                    print(f"  {section}.{_described(option)}")
            else:
                print(f"  {section:<18} {', '.join(options)}")


def _entry(shelf: Any, name: str) -> str:
    """What an entry's docstring says but for its sections, then its options."""
    import inspect
    import re

    text = re.split(r"\n\n?(?:Args|Returns|Raises|Attributes|Class attributes):\n|\n\n?>>> ", inspect.getdoc(shelf[name]) or "")[0]
    options = [f"  {_described(option)}" for option in shelf.about(name).options.values()]
    return "\n".join([name, "", text.strip(), *(["", "options", *options] if options else [])])


def _described(option: Any) -> str:
    return f"{option.name}={option.default!r}: {option.help}"


@_command("show shop.csv", "show model")
def show(
    path: Annotated[Path, typer.Argument(metavar="DIR|TABLE", help="A model folder or a table.")],
) -> None:
    """Say what a model is made of, or what polysense reads in a table."""
    from . import hub, store

    if not path.exists() and hub.is_id(path.as_posix()):  # a model's id; a table's path may look like one
        path = hub.cached(path.as_posix(), store.is_model) or path
    if path.is_dir() and (store.is_model(path) or not any(inner.is_dir() for inner in path.iterdir())):
        print(_about_model(path))
        return
    from .data.reading import read_cells
    from .data.records import read_table
    from .data.schema import guess
    from .talk import counted

    records = read_table(path)
    for note in records.notes:
        print(note)
    schema = guess(records)
    print(f"{records.source}: {counted(len(records), 'record')}\n{schema.describe()}")
    for mine in read_cells(records, schema).values():
        print(f"view {mine.name}: present in {int(mine.present.sum())} of {counted(mine.n, 'record')}")


def main() -> None:
    """Entry point of the command ``polysense``."""
    from .errors import PolysenseError

    if not processes.first() and sys.argv[1:2] not in (["fit"], ["match"]):
        sys.exit(0)  # only fit and match are work for several processes
    processes.steady_memory()
    try:
        code = app(sys.argv[1:] or ["--help"], prog_name="polysense", standalone_mode=False)
        sys.stdout.flush()  # here, where a closed pipe can still be met in silence, and a full disk in a sentence
    except PolysenseError as error:
        sys.exit(_fail(str(error), error.exit_code))
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(_fail("interrupted", 130))
    except BrokenPipeError:  # the reader of our output has gone, as in: polysense predict ... | head
        _let_go_of_stdout()
        sys.exit(0)
    except OSError as error:
        _let_go_of_stdout()
        place = f"could not go on: {error.filename}" if error.filename else "the output could not be written"
        sys.exit(_fail(f"{place}: {error.strerror or error}", 1))
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        sys.exit(_usage(error))
    if code == 130:  # typer's own word for an interruption
        _fail("interrupted", code)
    sys.exit(code if isinstance(code, int) else 0)


def _let_go_of_stdout() -> None:
    """Send what is still unwritten to nowhere, where it cannot be written."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _stoppable(unfinished: Path) -> Iterator[None]:
    """Ctrl-C, SIGTERM and a full disk end in a sentence that says how to go on."""
    from .errors import CannotWrite, Interrupted

    def terminate(number: int, frame: Any) -> None:
        raise Interrupted("terminated" + how(), 143)

    def how() -> str:
        return f"; --resume goes on from {unfinished}" if unfinished.exists() else ""

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("interrupted" + how(), 130) from None
    except CannotWrite as error:
        raise CannotWrite(f"{error}{how()}") from error
    finally:
        signal.signal(signal.SIGTERM, before)


def _usage(error: Any) -> int:
    """A mistake on the command line, which typer raises under click's names, as one line."""
    context, parameter = getattr(error, "ctx", None), getattr(error, "param", None)
    typed = next((word for word in sys.argv if parameter and word.split("=")[0] in parameter.opts), "")
    value = typed.partition("=")[2] or " ".join(sys.argv[sys.argv.index(typed) + 1 :][:1]) if typed else ""
    said = error.format_message().rstrip(".")
    wanted = next((words for word, words in _NUMBERS.items() if f"valid {word}" in said), "")
    if wanted and value:
        said = f"{typed.partition('=')[0]} {value} must be {wanted}"
    elif value:
        said += f", which is {value!r}"
    return _fail(said + (f" (see: {context.command_path} --help)" if context else ""), 2)


#: What the command line's library calls a type -> what the user may type.
_NUMBERS = {"integer": "a whole number", "number": "a number", "float": "a number"}


def _fail(message: str, code: int) -> int:
    if processes.first():
        print("polysense: " + " ".join(message.split("\n")), file=sys.stderr)
    elif code != 2:  # a mistake of the user is the same in all processes
        print(f"polysense, process {processes.rank()}: " + " ".join(message.split("\n")), file=sys.stderr)
    return code


def _answer_lines(model: Any, answers: Any) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
    """Header and lines of the answer file: row, id if there is one, prediction, a probability per class."""
    import numpy as np

    from .data.reading import LEFT_OUT
    from .data.rows import blocks

    bad = {cell["row"] for cell in answers.bad_cells if cell["action"] != LEFT_OUT}
    dropped = bad if model.on_bad == "drop" else set()
    parts = model.task_.parts()
    several = len(parts) > 1
    names = [f"prediction_{part.name}" for part in parts] if several else ["prediction"]
    shown = []  # columns of the answers that are written: probabilities
    for part in parts:
        for place, name in enumerate(part.task.columns()):
            names.append(name.replace("probability_", f"probability_{part.name}_", 1) if several else name)
            shown.append((part.columns.start or 0) + place)
    named = model.schema_.id_column if model.schema_.id_column in answers.records.names else None
    origins = answers.origins or []

    def written(prediction: Any) -> list[Any]:
        return [part.task.write(one) for part, one in zip(parts, prediction if several else [prediction], strict=True)]

    def lines() -> Iterator[tuple[Any, ...]]:
        for part in blocks(len(answers.records)):  # a large table's answers as Python numbers would fill the memory
            rows = np.arange(part.start, part.stop)
            ids = [(value,) for value in answers.records.column(named, rows)] if named else [()] * len(rows)
            said = model.task_decode(answers.answers[part])
            numbers = answers.answers[part][:, shown].astype(float).round(6).tolist() if shown else [[]] * len(rows)
            for row, own, one, p in zip(rows.tolist(), ids, said, numbers, strict=True):
                more = [origins[row]] if origins else []
                yield (row, *own, *([None] * (len(names) + len(more)) if row in dropped else [*written(one), *p, *more]))

    return ["row", *(["id"] if named else []), *names, *(["origin"] if origins else [])], lines()


def _print_csv(names: list[str], lines: Iterator[tuple[Any, ...]]) -> None:
    import csv

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(names)
    for line in lines:
        writer.writerow(["" if value is None else value for value in line])


def _show_some(model: Any, test: Path, count: int = 5) -> None:
    from .data.records import read_table

    records = read_table(test)
    some = records.take(range(0, len(records), max(1, len(records) // count))[:count])
    answers = model.answers(some)
    print("\nA few records it has never seen:")
    for i, row in enumerate(answers.answers):
        text = next((str(some.cell(name, i)) for name in ("english", "text") if name in some.names and some.cell(name, i)), "")
        said = model.classes_[row.argmax()]
        print(f"  {text[:44]:<46} says {said} ({row.max():.2f}), is {some.cell('label', i)}")


def _about_model(folder: Path) -> str:
    from . import store
    from .judge.card import of_targets
    from .judge.evaluate import number, words
    from .learn.consensus import sentence
    from .talk import counted

    facts, _ = store.load(folder)
    if facts["kind"] == "matcher":
        return cli_match.about(folder, facts)
    if facts["kind"] == "recommender":
        return cli_recommend.about(folder, facts)
    recipe, made, data, each = facts["recipe"], facts["made"], facts["data"], of_targets(facts)
    lines = [
        *(_about_target(one, f"{folder}: " if one is each[0] else " " * (len(str(folder)) + 2)) for one in each),
        f"fusion {recipe['fusion']}, seed {recipe['seed']}, {data['train']} training and {data['valid']} validation records, "
        f"{made['cpu_seconds']} CPU s, {made['date']}",
        *(f"view {view} <- {name}" + _tower(facts["towers"].get(view)) for view, name in recipe["encoders"].items()),
        *_tried(made.get("tried")),
        *([f"decoder writes with {facts['towers']['task.model']['name']}" + _tower(facts["towers"]["task.model"])]
          if "task.model" in facts["towers"] else []),
        *([sentence(facts["regressions"])] if facts.get("answers") == "words" and facts["regressions"]["weight"] else []),
        *_deepened(made.get("deepened")),
        *_tuned(made.get("tuned")),
        *([made["quality"]] if made.get("quality") else []),
        *_pseudo(made.get("pseudo")),
        *_several(made.get("several")),
        *(f"{name} -> {kind}: {reason}" for name, kind, reason in data["columns"]),
        f"{counted(len(data['bad_cells']), 'bad cell')} in training",
        "made with " + ", ".join(f"{name} {version}" for name, version in made["versions"].items() if version),
    ]
    for one in each:
        if one["valid"] and one["valid"]["scores"]:
            main = one["valid"].get("main", "accuracy")
            score, of = one["valid"]["scores"][main], f" of '{one['recipe']['target']}'" if len(each) > 1 else ""
            if score["value"] is not None:
                lines.append(f"validation {words(main)}{of} " + " ".join(
                    (number(score["value"], main), f"[{number(score['low'], main)}, {number(score['high'], main)}]")
                ))
    return "\n".join(lines)


def _about_target(facts: dict[str, Any], before: str) -> str:
    """What is predicted of a target."""
    recipe, classes = facts["recipe"], facts["classes"]
    task = recipe["task"] if isinstance(recipe["task"], str) else recipe["task"][recipe["target"]]
    return f"{before}{task} '{recipe['target']}'" + (
        f" into {len(classes)} {facts.get('answers', 'classes')}: " + ", ".join(map(str, classes[:20]))
        + (" ..." if len(classes) > 20 else "") if classes else ", " + {"words": "words"}.get(facts.get("answers"), "a number")
    )


def _tried(tried: dict[str, Any] | None) -> list[str]:
    from .learn.trial import table

    return [table(view, facts) for view, facts in (tried or {}).items()]


def _tuned(tuned: dict[str, Any] | None) -> list[str]:
    if not tuned:
        return []
    how = f"{tuned['options']['epochs']} epochs" + (f", factors of rank {tuned['options']['lora']}" if tuned["options"]["lora"] else "")
    losses = [tuned["frozen"]["loss"], *(epoch["loss"] for epoch in tuned["epochs"])]
    return [
        f"tuned {', '.join(tuned['views'])} ({how}, {tuned['cpu_seconds']} CPU s): {tuned['kept']} solution kept; "
        f"validation log loss frozen {losses[0]:.3f}, by epoch {' '.join(f'{loss:.3f}' for loss in losses[1:])}"
    ]


def _deepened(deepened: dict[str, Any] | None) -> list[str]:
    if not deepened:
        return []
    losses = " ".join(f"{epoch['valid_loss']:.3f}" for epoch in deepened["epochs"])
    kind = "low-rank parameters" if deepened.get("pace", "factors") == "factors" else "parameters of the decoder"
    answers = deepened.get("answers")
    said = "" if answers is None else "; of the answers {:.3f}, then {:.3f}".format(*answers)
    return [
        f"second training ({deepened['parameters']:,} {kind}, {deepened['cpu_seconds']} CPU s): {deepened['kept']} "
        f"solution kept; validation loss {deepened['first']:.3f}, by epoch {losses}{said}"
    ]


def _pseudo(pseudo: dict[str, Any] | None) -> list[str]:
    if not pseudo:
        return []
    losses = f"; validation loss {pseudo['first']['loss']:.4g} -> {pseudo['second']['loss']:.4g}" if pseudo["second"] else ""
    return [
        f"pseudo-labels: {pseudo['taken']:,} of {pseudo['records']:,} records without a target answered with at least "
        f"{pseudo['from']:g}{losses}; the {pseudo['kept']} training is kept"
    ]


def _several(several: dict[str, Any] | None) -> list[str]:
    if not several:
        return []
    spread = "; ".join(
        f"{name.replace('_', ' ')} {one['mean']:.3f}, deviation {one['deviation']:.3f}" for name, one in several["spread"].items()
    )
    return [f"{several['count']} models, one of each of {several['count']} {several['kind']}, answers averaged; alone: {spread}"]


def _tower(tower: dict[str, Any] | None) -> str:
    return f" ({tower['name']}, sha256 {tower['sha256'][:12]}..., {tower['licence']})" if tower else ""


if __name__ == "__main__":
    main()
