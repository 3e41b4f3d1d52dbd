"""Data sets of the hub that the course does not carry: larger ones, for whoever is online."""

import datasets

from utils import environment
from utils.data.sources import SourceError


def rows(name: str, configuration: str, split: str) -> datasets.Dataset:
    """A split of a data set of the hub, from its local cache or, when the hub can be reached, from there.

    Raises: SourceError, within seconds, if neither has it.
    """
    options = datasets.DownloadConfig(local_files_only=not environment.online())
    before = datasets.config.HF_HUB_OFFLINE
    try:
        # With local_files_only alone the library still asks the hub for the newest revision, and retries for 30 s.
        datasets.config.HF_HUB_OFFLINE = before or not environment.online()
        return datasets.load_dataset(name, configuration, split=split, download_config=options)
    except (OSError, ValueError, ConnectionError) as error:
        raise SourceError(
            f"looked for the data set {name!r} ({configuration}) in the local cache and on the hub "
            f"({'reachable' if environment.online() else 'offline'}): neither has it. It is not part of the course: go "
            f"online and unset HF_HUB_OFFLINE, or take the data that the course reads without it"
        ) from error
    finally:
        datasets.config.HF_HUB_OFFLINE = before
