"""What the measured streams are called and hold."""

EDGE, HUB = "E_bench_T", "H_THROUGHPUT"  # the second sources the first, so that each of its messages has a header
TAGS_COUNT = 1000


def value(number: int) -> float:
    """Of the `number`-th sample."""
    return 20.0 + number % 977 / 10
