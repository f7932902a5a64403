"""What the data sets' tests share with those of the library's data layer."""

from tests.data.conftest import printed

__all__ = ["printed"]
