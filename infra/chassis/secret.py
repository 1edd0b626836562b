"""A value that refuses to be careless."""

from typing import Generic, NoReturn, TypeVar

T = TypeVar("T", str, bytes)


class Secret(Generic[T]):
    """Holds a key or a password. It does not print, pickle, copy, serialise or compare; `reveal()` hands it out.

    The callers of `reveal()` are listed in tests/repo, so that a new one is a decision and not an accident.
    """

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        self._value: T = value

    def reveal(self) -> T:
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __format__(self, _spec: str) -> str:
        return "Secret(…)"

    def __eq__(self, _other: object) -> bool:
        msg = "a secret is compared with hmac.compare_digest, by whoever may reveal it"
        raise TypeError(msg)

    __hash__ = None  # type: ignore[assignment]  # not hashable: no set, no dict key, no cache key

    def __reduce__(self) -> NoReturn:
        msg = "a secret is not serialised"
        raise TypeError(msg)

    def __copy__(self) -> NoReturn:
        self.__reduce__()

    def __deepcopy__(self, _memo: object) -> NoReturn:
        self.__reduce__()
