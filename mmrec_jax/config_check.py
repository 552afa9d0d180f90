"""The one form in which a config's value is refused."""

from mmrec_jax.errors import UserError

LARGEST_SEED = 2**32 - 1  # JAX takes the seed modulo 2^32


def require(condition: bool, name: str, value: object, expected: str) -> None:
    """Refuses a value of a field.

    Args:
      condition: whether the value is fine.
      name: the field, such as `model.dropout`.
      value: its value.
      expected: what it must be.

    Raises:
      UserError: the condition does not hold.
    """
    if not condition:
        raise UserError(f"config.{name} is {value!r}; it must be {expected}")
