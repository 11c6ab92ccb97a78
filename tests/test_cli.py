import json
import subprocess
import sys
from dataclasses import replace

import pytest

import pld_edu
from pld_edu import cli
from pld_edu.distill import fair
from pld_edu.distill import run as distill
from pld_edu.distill.experiment import SGDRecipe
from tests.support.small_run import SMALL


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setitem(cli.PRESETS, "one-recipe", SMALL)


@pytest.mark.slow
def test_help_needs_no_torch():
    code = "import sys, pld_edu.cli; print([m for m in ('torch', 'numpy') if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stdout == "[]\n", answer.stderr


@pytest.mark.slow
def test_as_a_module():
    command = [sys.executable, "-m", "pld_edu.cli", "--version"]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert (answer.returncode, answer.stdout) == (0, f"pld_edu {pld_edu.__version__}\n")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["distill", "bench"])
def test_base_install_names_the_extra(command):
    code = (
        "import sys; sys.modules['torch'] = None; from pld_edu import cli; "
        f"sys.exit(cli.main(['{command}']))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (answer.returncode, answer.stdout) == (1, "")
    message = (
        'torch is not installed; the extra "distill" brings it: pip install "pld_edu[distill]"'
    )
    assert answer.stderr == f"pld-edu: {message}\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["distill", "--methods", "ce", "bert"], "argument --methods: invalid choice: 'bert'"),
        (["distill", "--dataset", "imagenet"], "argument --dataset: invalid choice: 'imagenet'"),
        (["distill", "--methods", "ce", "ce"], "name each method once, got ce, ce"),
        (["distill", "--seeds", "0"], "seeds must be at least 1, got 0"),
        (["distill", "--seeds", "many"], "argument --seeds: invalid int value: 'many'"),
        (["distill", "--epochs", "0"], "epochs must be at least 1, got 0"),
        (["distill", "--student", "resnet8"], "no network for mnist1d is called 'resnet8'; there"),
        (["distill", "--preset", "cpu", "--teacher", "cnn"], "no network for cifar100 is called"),
        (["distill", "--preset", "cpu", "--dataset", "mnist1d"], "is for --dataset cifar100"),
        (["distill", "--device", "abacus"], "device must be cpu, cuda, ..., got 'abacus'"),
        (["distill", "--minutes", "3"], "--minutes is for a run with one teacher"),
        (["distill", "--optimizer", "sgd"], "--optimizer and --precision are for cifar100"),
        (["bench", "--rounds", "0"], "rounds and threads must be at least 1, got 0 and 1"),
    ],
)
def test_bad_arguments_end_with_status_2_and_a_sentence(arguments, sentence, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--dataset", "mnist1d"], ["--preset", "fair"]])
def test_without_arguments_the_fair_comparison_is_made(arguments, monkeypatch):
    asked = []

    def run(experiment, folder):
        asked.append((experiment, str(folder)))
        raise KeyboardInterrupt

    monkeypatch.setattr(fair, "run", run)
    assert cli.main(["distill", *arguments]) == 130
    assert asked == [(cli.PRESETS["fair"], "runs/mnist1d-fair")]
    assert asked[0][0].methods == ("ce", "kd", "dist", "pld")


def test_the_fair_comparison_prints_its_table_and_a_sentence(tmp_path, capsys, monkeypatch):
    methods = ("ce", "kd", "dist", "pld")
    rows = [
        {"method": method, "temperature": None if method == "ce" else 1.0, "learning_rate": 0.1}
        | {"draw": draw, "seed": draw, "top1": 50.0 + place + 0.1 * draw**2 * (place + 1)}
        for place, method in enumerate(methods)
        for draw in range(3)
    ]

    def run(experiment, folder):
        return fair.FairRun(folder, rows, [], [])

    monkeypatch.setattr(fair, "run", run)
    assert cli.main(["distill", "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "Over 3 draws PLD is ahead of CE (+3.5), KD (+2.3) and DIST (+1.2)." in shown
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_one_recipe_is_the_run_with_one_teacher(monkeypatch):
    asked = []

    def run(experiment, out, **options):
        asked.append((experiment, str(out)))
        raise KeyboardInterrupt

    monkeypatch.setattr(distill, "run", run)
    assert cli.main(["distill", "--preset", "one-recipe"]) == 130
    assert asked == [(cli.EXPERIMENTS["mnist1d"], "runs/mnist1d")]


def test_every_option_reaches_the_experiment(monkeypatch):
    asked = []

    def run(experiment, out, device, **how):
        asked.append((experiment, str(out), str(device), how))
        raise KeyboardInterrupt

    monkeypatch.setattr(distill, "run", run)
    command = "distill --preset cpu --teacher resnet56 --student wrn_16_1 --methods pld ce"
    command += " --temperatures 2 --seeds 1 --epochs 3 --teacher-epochs 4 --train 640 --device cpu"
    command += " --held-out 100 --test 200 --precision bfloat16 --optimizer sgd"
    command += " --minutes 1.5 --graphs require"
    assert cli.main(command.split()) == 130
    cpu = cli.PRESETS["cpu"]
    expected = replace(
        cpu,
        teacher="resnet56",
        student="wrn_16_1",
        methods=("pld", "ce"),
        temperatures=(2.0,),
        more=(),
        primary=(),
        seeds=1,
        train=640,
        held_out=100,
        test=200,
        precision="bfloat16",
        screen=None,
        student_recipe=SGDRecipe(3, batch_size=64, learning_rate=0.05, weight_decay=5e-4),
        teacher_recipe=SGDRecipe(4, batch_size=64, learning_rate=0.05, weight_decay=5e-4),
    )
    how = {"minutes": 1.5, "graphs": "require"}
    assert asked == [(expected, "runs/cifar100", "cpu", how)]
    assert expected.dataset == "cifar100"


def test_a_run_prints_its_table_and_draws_its_figure(small, tmp_path, capsys):
    arguments = [
        "distill",
        "--preset",
        "one-recipe",
        "--methods",
        "ce",
        "pld",
        "--seeds",
        "3",
        "--epochs",
        "2",
    ]
    arguments += ["--out", str(tmp_path)]
    assert cli.main(arguments) == 0
    first = capsys.readouterr()
    assert "cnn teaches 9 students mlp32 side by side (3 settings, 3 seeds), 2 epochs." in first.out
    assert "difference to CE" in first.out
    assert "100%" in first.err, "a progress bar"
    folder = tmp_path / "cnn-mlp32"
    assert (folder / "figure.png").read_bytes().startswith(b"\x89PNG")
    rows = json.loads((folder / "rows.json").read_text())
    assert {(row["method"], row["epochs"]) for row in rows} == {("ce", 2), ("pld", 2)}

    assert cli.main(arguments) == 0
    second = capsys.readouterr()
    assert "holds this run already, finished" in second.out
    assert second.out.splitlines()[1:] == first.out.splitlines()[1:]

    assert cli.main([*arguments, "--seeds", "2"]) == 0
    assert "over 2 student seeds" in capsys.readouterr().out
    with pytest.raises(SystemExit) as end:
        cli.main([*arguments, "--epochs", "3"])
    assert end.value.code == 2
    assert "epochs is 2 there, 3 here. Choose another --out" in capsys.readouterr().err


def test_what_cannot_be_had_is_a_sentence_and_a_bug_has_its_traceback(
    tmp_path, capsys, monkeypatch
):
    slice_ = ["distill", "--preset", "smoke", "--device", "cpu", "--out", str(tmp_path)]
    with pytest.raises(SystemExit):
        cli.main([*slice_, "--test", "900"])
    assert "the slice has 1000 images" in capsys.readouterr().err

    def run(*arguments, **options):
        raise ValueError("a bug")

    monkeypatch.setattr(distill, "run", run)
    with pytest.raises(ValueError, match="a bug"):
        cli.main(slice_)


@pytest.mark.slow
def test_a_reader_that_stops_reading_is_no_error():
    """As after ``| head``: the pipe is closed before anything is printed."""
    command = [sys.executable, "-m", "pld_edu.cli", "bench", "--rounds", "1", "--shapes", "2x3"]
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipe) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


@pytest.mark.slow
def test_the_smoke_preset_does_everything(tmp_path, capsys):
    assert cli.main(["distill", "--preset", "smoke", "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert "Chosen before the run, 95% over both together" in shown.out
    assert "no CUDA graph" not in shown.err
    folder = tmp_path / "resnet20-resnet8"
    assert {"screen.json", "curves.json", "predictions.npz"} < {
        path.name for path in folder.iterdir()
    }


def test_a_diverged_run_ends_with_status_1_and_a_sentence(small, tmp_path, capsys, monkeypatch):
    def run(experiment, out, **options):
        raise FloatingPointError("the loss of the teacher is no longer finite")

    monkeypatch.setattr(distill, "run", run)
    assert cli.main(["distill", "--preset", "one-recipe", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "pld-edu: the loss of the teacher is no longer finite\n"


def test_a_run_out_of_time_ends_with_status_75_and_a_sentence(small, tmp_path, capsys):
    arguments = ["distill", "--preset", "one-recipe", "--out", str(tmp_path), "--minutes", "0"]
    assert cli.main(arguments) == 75
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == "The 0 minutes are over. The same command goes on where this one stopped."
