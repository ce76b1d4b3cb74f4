"""Stands between the daemon and one attempt: `python shim.py ATTEMPT_DIR GRACE_S -- COMMAND…`.

It lives in a session of its own, so that neither the daemon's death nor a closed terminal reaches the work. It claims the
attempt (shim.json, created exactly once, so that an attempt that is launched twice runs once), starts the command, passes
SIGTERM on, kills what has not ended after GRACE_S seconds or at a second SIGTERM, adopts and kills every process that the
command leaves behind (but a model server), and writes exit.json last.

It imports little and nothing of the project: it starts with each attempt, in milliseconds (`python -I -S`). Importing json
would take as long as everything else together, so it writes its numbers by hand.
"""

import ctypes
import os
import resource
import signal
import sys
import time

KEPT = b"CAI_KEPT="  # in the environment of a process that outlives its attempt (alignment/engines/server.py)
MAX_OUTPUT_BYTES, KEPT_BYTES = 64 << 20, 1 << 20  # of stdout.log and of stderr.log, looked at every second
_PUNCH_HOLE = 0x03  # FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_libc = ctypes.CDLL(None, use_errno=True)


def identity(pid: int) -> tuple[int, str]:
    """Gives a process's start time in clock ticks and the machine's boot id: with the pid they name it for ever."""
    with open(f"/proc/{pid}/stat", "rb") as stream:
        start_time = int(stream.read().rpartition(b")")[2].split()[19])
    with open("/proc/sys/kernel/random/boot_id") as stream:
        return start_time, stream.read().strip()


def put(path: str, text: str, once: bool = False) -> None:
    """Writes a file whole and durably; with `once`, raises FileExistsError where it is there already."""
    temporary = f"{path}.{os.getpid()}.tmp"
    with open(temporary, "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    if once:
        try:
            os.link(temporary, path)
        finally:
            os.unlink(temporary)
    else:
        os.rename(temporary, path)
    folder = os.open(os.path.dirname(path), os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def descendants() -> list[int]:
    """Lists the live children of this process; orphans of the work become children too, for it is their subreaper.

    A model server is none of them: it is for the next task too, and has an idle time of its own to end by.
    """
    with open(f"/proc/self/task/{os.getpid()}/children") as stream:
        return [pid for pid in map(int, stream.read().split()) if not is_kept(pid)]


def is_kept(pid: int) -> bool:
    """Tells whether a process was started to outlive its attempt."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as stream:
            return any(entry.startswith(KEPT) for entry in stream.read().split(b"\0"))
    except OSError:
        return False


def trim(path: str) -> None:
    """Gives the blocks of a log's beginning back to the disk where it has grown too long; whoever appends to it goes on."""
    try:
        with open(path, "r+b") as stream:
            excess = (os.fstat(stream.fileno()).st_size - KEPT_BYTES) // 4096 * 4096
            if os.fstat(stream.fileno()).st_blocks * 512 > MAX_OUTPUT_BYTES:
                _libc.fallocate(stream.fileno(), _PUNCH_HOLE, ctypes.c_long(0), ctypes.c_long(excess))
    except OSError:
        return  # tried again in a second


def main(attempt_dir: str, grace_s: float, command: list[str]) -> None:
    """Runs the command as this attempt, to its end."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    start_time, boot_id = identity(os.getpid())
    me = f'{{"pid": {os.getpid()}, "start_time": {start_time}, "boot_id": "{boot_id}"}}'
    try:
        put(os.path.join(attempt_dir, "shim.json"), me, once=True)
    except FileExistsError:
        return  # this attempt was launched before

    asked = 0
    deadline = float("inf")

    def on_term(*_: object) -> None:
        nonlocal asked, deadline
        asked += 1
        deadline = min(deadline, time.monotonic() + (grace_s if asked == 1 else 0.0))

    signal.signal(signal.SIGTERM, on_term)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD})
    signal.signal(signal.SIGCHLD, lambda *_: None)

    begun = time.monotonic()
    child = os.fork()
    if child == 0:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGIO, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGCHLD})
        os.setpgid(0, 0)
        try:
            os.execv(command[0], command)
        except OSError as error:
            os.write(2, f"{command[0]}: {error}\n".encode())
            os._exit(127)

    status = None
    passed_on = killed = False
    while status is None:
        wait_s = min(1.0, max(0.0, deadline - time.monotonic()))
        if (got := signal.sigtimedwait({signal.SIGTERM, signal.SIGCHLD}, wait_s)) and got.si_signo == signal.SIGTERM:
            on_term()
        if asked and not passed_on:
            os.kill(child, signal.SIGTERM)
            passed_on = True
        if time.monotonic() >= deadline and not killed:
            os.killpg(child, signal.SIGKILL)
            killed = True
        while True:  # the child and every orphan that has ended
            try:
                pid, ended = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if pid == child:
                status = ended
        for name in ("stdout.log", "stderr.log"):
            trim(os.path.join(attempt_dir, name))

    while left := descendants():  # what the work left behind dies with it
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            break

    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else "null"
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else "null"
    put(
        os.path.join(attempt_dir, "exit.json"),
        f'{{"code": {code}, "signal": {number}, "seconds": {time.monotonic() - begun:.6f}, '
        f'"asked": {"true" if asked else "false"}, "cpu_seconds": {usage.ru_utime + usage.ru_stime:.6f}, '
        f'"max_rss_bytes": {usage.ru_maxrss * 1024}}}',
    )


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), sys.argv[4:])
