"""One Ray for all tests of a file that need it."""

import pytest


@pytest.fixture(scope="module")
def one_ray():
    """Ray on this machine; evaluations find it running and leave it so."""
    from pipeline.cluster import ray_session
    from pipeline.config import ClusterConfig

    with ray_session(ClusterConfig(num_cpus=4)):
        yield
