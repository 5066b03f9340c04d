"""Getting files from the network: fetched, checked and unpacked, or clearly refused."""

from retrieval_eval.fetching.archives import archive_stem, unpack, unpacked_from
from retrieval_eval.fetching.download import CHECKSUM_DIGITS, Fetched, FetchError, fetch

__all__ = [
    "CHECKSUM_DIGITS",
    "FetchError",
    "Fetched",
    "archive_stem",
    "fetch",
    "unpack",
    "unpacked_from",
]
