"""Asks the waiting process of `warm.py` to run a command of `millstream`, and is that command for whoever started it.

    python -S -E warm_client.py ADDRESS WORDS...

Only built-in modules: this starts in a hundredth of a second.
"""

import _signal  # `signal` and `socket` would take longer than all the rest
import _socket
import marshal
import os
import sys


def main(address: str, words: list[str]) -> int:
    """The streams, the folder and the environment go over, and signals; the exit status comes back."""
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)

    def pass_on(number: int, _frame: object) -> None:
        try:  # noqa: SIM105 - contextlib takes longer than all of this
            connection.send(str(number).encode())
        except OSError:
            pass  # the command has ended by itself

    for number in (_signal.SIGINT, _signal.SIGTERM, _signal.SIGUSR1, _signal.SIGUSR2):
        _signal.signal(number, pass_on)
    connection.connect(address.replace("@", "\0"))
    umask = os.umask(0o022)
    asked = marshal.dumps((words, os.getcwd(), dict(os.environ), umask))
    streams = b"".join(number.to_bytes(4, sys.byteorder) for number in (0, 1, 2))
    connection.sendmsg([asked], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, streams)])
    said = connection.recv(16)
    if not said:
        sys.stderr.write("the process that runs commands for the tests has ended\n")
        return 70
    code = os.waitstatus_to_exitcode(int(said))
    if code < 0:
        _signal.signal(-code, _signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


sys.exit(main(sys.argv[1], sys.argv[2:]))
