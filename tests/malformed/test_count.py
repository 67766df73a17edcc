"""How many malformed inputs there are."""

from __future__ import annotations

from tests.malformed import test_bundles, test_images, test_outputs, test_paths, test_process, test_videos


def test_at_least_fifty_distinct_inputs() -> None:
    """By their names in the tables; no name stands for two."""
    tables = [
        *(test_images.REFUSED, test_images.RIGHT),
        *(test_videos.REFUSED, test_videos.RIGHT, test_videos.ADDRESSES),
        *(test_paths.REFUSED, test_paths.NAMES, test_paths.LOCKED, test_paths.WRITTEN),
        *(test_outputs.REFUSED, test_outputs.RIGHT, test_outputs.FULL),
        *(test_bundles.REFUSED, test_bundles.NAMES, test_bundles.OPTIONS, test_bundles.OTHERS),
        test_process.DONE,
    ]
    names = [name for table in tables for name in table]
    assert len(set(names)) == len(names)
    assert len(names) >= 50
