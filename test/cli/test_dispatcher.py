# SPDX-License-Identifier: Apache-2.0
"""The dispatcher: what it lists, what it loads, and how it tells errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from selfocc_ros import cli
from selfocc_ros.errors import SelfOccError

HEAVY = ("torch", "rclpy", "rosbags", "cv2")


def run(*code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *code], cwd=cwd, capture_output=True, text=True)


def test_every_listed_subcommand_has_its_module_and_no_module_is_left_out(repository: Path) -> None:
    modules = {path.stem for path in (repository / "selfocc_ros" / "cli").glob("[a-z]*.py")}
    with_run = {
        name for name in modules if "def add_arguments(" in (repository / f"selfocc_ros/cli/{name}.py").read_text()
    }
    assert {cli.module_name(name) for name in cli.SUBCOMMANDS} == with_run


@pytest.mark.parametrize(
    "arguments", [[], *([name] for name in cli.SUBCOMMANDS)], ids=lambda a: a[0] if a else "selfocc"
)
def test_help_loads_nothing_heavy(arguments: list[str], repository: Path) -> None:
    code = (
        "import sys\n"
        "from selfocc_ros.cli import main\n"
        "try:\n"
        f"    main({[*arguments, '--help']!r})\n"
        "except SystemExit as end:\n"
        "    assert end.code == 0\n"
        f"print('LOADED', [name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    done = run("-c", code, cwd=repository)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: selfocc")
    assert done.stdout.rstrip().endswith("LOADED []")


def test_an_unknown_subcommand_is_told_with_the_known_ones(repository: Path) -> None:
    done = run("-m", "selfocc_ros.cli", "deom", cwd=repository)
    assert done.returncode == 2
    assert "deom" in done.stderr
    assert "demo" in done.stderr


def stub_module(monkeypatch: pytest.MonkeyPatch, result: int | BaseException) -> None:
    def execute(_args: object) -> int:
        if isinstance(result, BaseException):
            raise result
        return result

    module = ModuleType("selfocc_ros.cli.probe")
    vars(module).update(HELP="probe", add_arguments=lambda _parser: None, run=execute)
    monkeypatch.setitem(sys.modules, "selfocc_ros.cli.probe", module)
    monkeypatch.setitem(cli.SUBCOMMANDS, "probe", "probe")


def test_bad_input_is_one_sentence_and_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stub_module(monkeypatch, SelfOccError("bag 'x' has no camera, expected at least one"))
    assert cli.main(["probe"]) == 2
    assert capsys.readouterr().err == "selfocc: bag 'x' has no camera, expected at least one\n"


def test_ctrl_c_ends_without_a_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    stub_module(monkeypatch, KeyboardInterrupt())
    assert cli.main(["probe"]) == 130
    assert capsys.readouterr().err == "selfocc: stopped\n"


def test_a_defect_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    stub_module(monkeypatch, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        cli.main(["probe"])


def test_the_answer_of_a_subcommand_is_the_exit_status(monkeypatch: pytest.MonkeyPatch) -> None:
    stub_module(monkeypatch, 1)
    assert cli.main(["probe"]) == 1


def test_a_closed_pipe_is_no_error(repository: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", '"$0" -m selfocc_ros.cli --help | true; exit ${PIPESTATUS[0]}', sys.executable],
        cwd=repository,
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr
