"""The command line in this process, as the tests of `cli` run it."""

from tests.cli.conftest import call  # noqa: F401 - a fixture
