"""A command ends by the first signal that asks it to, wherever that signal finds it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

# Each stops itself where Python, or a library, ignores exceptions.
FINALIZER = "class Odd:\n  def __del__(self): os.kill(os.getpid(), number)\nOdd()"
CAUGHT = "class Odd:\n  def __del__(self):\n    try: os.kill(os.getpid(), number); stop()\n    except: pass\nOdd()"
WEAKREF = "odd = type('Odd', (), {})()\nreference = weakref.ref(odd, lambda _: os.kill(os.getpid(), number))\ndel odd"
COLLECTOR = "gc.callbacks.append(lambda *_: gc.callbacks.clear() or os.kill(os.getpid(), number))\ngc.collect()"

COMMAND = """
import gc, os, signal, time, weakref
from avizor_cli.stop_signals import clean_up_when_stopped
number = signal.{number}
def stop(): pass
signal.signal(number, signal.SIG_DFL)  # the shell of the tests may have told them to ignore it
clean_up_when_stopped()
try:
  {place}
  time.sleep(30)
finally:
  print("cleaned up")
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("place", [FINALIZER, CAUGHT, WEAKREF, COLLECTOR], ids=["finalizer", "caught", "weakref", "collector"])
def test_a_command_ends_where_python_ignores_exceptions(place: str, number: signal.Signals) -> None:
    command = COMMAND.format(number=number.name, place=place.replace("\n", "\n  "))
    ended = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, timeout=25, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (128 + number, "cleaned up\n", "")


def test_other_errors_that_python_ignores_are_told() -> None:
    command = COMMAND.format(
        number="SIGTERM", place="class Odd:\n    def __del__(self): raise ValueError('odd')\n  Odd()"
    ).replace("30", "0")
    ended = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, timeout=25, check=False)
    assert ended.returncode == 0
    assert "ValueError: odd" in ended.stderr


# As a library in C does what is imported while the signal comes.
IN_C = """
import os, signal
try:
    os.kill(os.getpid(), signal.{number})
    [None for _ in range(1000)]
except BaseException as error:
    raise ImportError("initialization failed") from error
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_command_that_is_stopped_in_an_import_prints_nothing(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "pyarrow.py").write_text(IN_C.format(number=number.name))
    command = f"""
import signal, sys
from avizor_cli.main import main
sys.path.insert(0, {str(tmp_path)!r})
signal.signal(signal.{number.name}, signal.SIG_DFL)
main()
"""
    ended = subprocess.run([sys.executable, "-c", command, "batch"], capture_output=True, text=True, timeout=25, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (128 + number, "", "")


HELD = """
import os, signal, threading, time
from avizor_cli.stop_signals import clean_up_when_stopped
from avizor_inference.stop_signals import handlers_held, signals_blocked
number = signal.{number}
signal.signal(number, signal.SIG_DFL)
clean_up_when_stopped()
threading.Thread(target=time.sleep, args=(5,), daemon=True).start()  # it does not block what the main thread blocks
with signals_blocked(), handlers_held():
  os.kill(os.getpid(), number)
  time.sleep(0.2)
  print("started")
time.sleep(30)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_what_is_being_started_is_started_also_if_another_thread_is_given_the_signal(number: signal.Signals) -> None:
    command = HELD.format(number=number.name)
    ended = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, timeout=25, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (128 + number, "started\n", "")
