from collections.abc import Iterator

import pytest
import torch

from embed.inputs import Views
from embed.snapshot import Snapshot, own_interactions
from kg.interactions import Catalogue, Interactions
from kg.tables import Output
from tests.embed import planted


@pytest.fixture(scope="session")
def output(tmp_path_factory: pytest.TempPathFactory) -> Output:
    return planted.write(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="session")
def snapshot(output: Output) -> Snapshot:
    return Snapshot.read(output)


@pytest.fixture(scope="session")
def catalogue(snapshot: Snapshot) -> Catalogue:
    return planted.make_catalogue(snapshot)


@pytest.fixture(scope="session")
def views(snapshot: Snapshot) -> Views:
    return planted.make_views(snapshot)


@pytest.fixture(scope="session")
def interactions(snapshot: Snapshot, catalogue: Catalogue) -> Interactions:
    return own_interactions(snapshot, catalogue)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """One seed gives one result on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
