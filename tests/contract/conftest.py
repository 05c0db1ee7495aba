from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.stage import Stage
from tests.support.tls import make_tls


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One stage for the module: what is refused changes nothing, so the tests do not meet."""
    root = tmp_path_factory.mktemp("stage")
    stage = Stage(root, make_tls(root))
    stage.start()
    yield stage
    stage.stop()
