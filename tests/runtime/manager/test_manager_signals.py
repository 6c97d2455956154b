"""Signals are noticed whatever the main thread is at."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from runtime.manager import signals
from runtime.manager.signals import SignalWatch
from tests.support.operators import ROOT
from tests.support.waiting import eventually

# A signal that comes just before the main thread blocks interrupts nothing. So does one that another thread gets, and
# that can be had at will.
BLOCKED = """
import signal, threading
from runtime.manager.signals import SignalWatch

with SignalWatch(lambda: print("first", flush=True)):
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    print("blocked", flush=True)
    threading.Event().wait()
"""


# A reconciler may use processes, and end them.
FORKING = """
import os, signal, time
from runtime.manager.signals import SignalWatch

def fork():
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, b"x")
        time.sleep(600)
        os._exit(0)
    os.read(reader, 1)
    return child

with SignalWatch(lambda: print("told", flush=True)) as watch:
    child = fork()
    os.kill(child, signal.SIGTERM)
    print("ended with", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    other = fork()
print("received", watch.received, flush=True)
os.kill(other, signal.SIGKILL)
"""


def test_signals_of_a_forked_process_are_its_own() -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORKING]
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True, start_new_session=True)
    with process:
        try:
            assert process.communicate(timeout=30)[0] == f"ended with {-signal.SIGTERM}\nreceived None\n"
        finally:
            if process.returncode is None or process.returncode < 0:
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_both_signals_are_noticed_while_the_main_thread_hears_nothing(number: signal.Signals) -> None:
    command = [sys.executable, "-c", BLOCKED]
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "blocked\n"
            process.send_signal(number)
            assert process.stdout.readline() == "first\n"
            process.send_signal(number)
            assert process.wait(30) == 128 + number
        finally:
            process.kill()


def test_the_first_signal_is_told_once_and_those_of_others_are_not_counted() -> None:
    told: list[signal.Signals | None] = []
    mine: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _frame: mine.append(number))
    try:
        with SignalWatch(lambda: told.append(watch.received)) as watch:
            os.kill(os.getpid(), signal.SIGUSR1)
            os.kill(os.getpid(), signal.SIGINT)
            eventually(lambda: told, "the signal was told")
            os.kill(os.getpid(), signal.SIGUSR1)
            eventually(lambda: len(mine) == 2, "the handler of others was called")
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert told == [signal.SIGINT]
    assert watch.received is signal.SIGINT


def test_handlers_and_file_descriptor_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    previous = signal.set_wakeup_fd(writer)
    try:
        with SignalWatch(lambda: None):
            assert signal.getsignal(signal.SIGTERM) != before[0]
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
        assert signals._entered == [], "what is forked from now on is none of ours"
    finally:
        found = signal.set_wakeup_fd(previous)
        os.close(reader)
        os.close(writer)
    assert found == writer


def test_in_another_thread_it_does_nothing() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen: list[object] = []

    def enter() -> None:
        with SignalWatch(lambda: None) as watch:
            seen.extend((signal.getsignal(signal.SIGTERM), watch.received))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [before, None]
