"""The roll call, with threads and real sockets: who joined, who did not, and strangers."""

import socket
import threading
import time

import pytest

from sagan.parallel import roll_call
from sagan.parallel.roll_call import JoinError


@pytest.fixture
def address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def gather(address, numbers, total, seconds=20.0, delay=0.0, totals=None):
    """Lets processes with these numbers call; returns the outcome of each, in order."""
    ends: list[str | None] = [None] * len(numbers)

    def one(place, number):
        time.sleep(delay * place)
        try:
            roll_call.call(address, (totals or {}).get(number, total), number, seconds)
            ends[place] = "go"
        except JoinError as error:
            ends[place] = str(error)

    threads = [threading.Thread(target=one, args=pair) for pair in enumerate(numbers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return ends


@pytest.mark.parametrize("numbers", [[0, 1], [3, 1, 2, 0], list(range(16))])
def test_all_there(address, numbers):
    assert gather(address, numbers, len(numbers), delay=0.02) == ["go"] * len(numbers)


def test_again_at_the_same_port_at_once(address):
    for _ in range(3):
        assert gather(address, [0, 1, 2], 3) == ["go"] * 3


def test_strangers_and_the_dead_do_not_count(address):
    ends = []
    host, port = address.split(":")
    caller = threading.Thread(target=lambda: ends.extend(gather(address, [0], 3, 30.0)))
    caller.start()

    def connect(text):
        while True:
            try:
                one = socket.create_connection((host, int(port)))
            except OSError:
                time.sleep(0.02)
                continue
            one.sendall(text)
            return one

    for text in (b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 500, b"sagan 1 x\n", b"sagan 1"):
        connect(text).close()
    connect(b"sagan 1 3\n").close()  # died after it had come; its successor may take its place
    time.sleep(0.3)
    assert gather(address, [1, 2], 3) == ["go", "go"]
    caller.join(30)
    assert ends == ["go"]


def test_a_number_twice_and_another_size_are_named(address):
    ends = gather(address, [0, 1, 1], 3)
    assert "1 of 3" in ends[0] and address in ends[0]
    assert ends[1] == ends[2] == ends[0]
    ends = gather(address, [0, 1], 2, 3.0, totals={1: 5})
    assert all("1 of 5" in end and address in end for end in ends)


def test_many_missing_are_counted():
    text = roll_call.missing(64, [0])
    assert "1 of 64" in text and ", 16, …" in text and "17" not in text


def test_an_address_without_a_port():
    with pytest.raises(JoinError, match="'pod-0'.*host:port"):
        roll_call.call("pod-0", 2, 1, 1.0)
