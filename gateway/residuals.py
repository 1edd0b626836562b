"""What is left of the policies when the row is not known yet, as a condition that the database can apply.

The engine is asked with an unknown resource and leaves *residuals*: policies in which everything else is filled in.
Their syntax trees (Cedar's JSON policy format) become one SQL condition over the columns that stand for the row's
attributes. Only the operators below are known. Anything else raises Untranslatable, and then nothing is listed: a
condition is never left out, because it could be the one that forbids.

An attribute that may be missing is NULL. The schema lets a policy read it only behind `has`, so that SQL's third
truth value never decides where Cedar would have stopped with an error; a condition that comes out NULL selects nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

TEXT, LONG, BOOL = "String", "Long", "Bool"
CAST_TO: Final = {BOOL: "boolean", LONG: "bigint"}
"""Everything else is text: strings, and the ids of entities."""
RESOURCE: Final = {"unknown": [{"Value": "resource"}]}


class Untranslatable(Exception):
    """The policies ask for something that cannot be asked of the database. Says what, without values."""


@dataclass(frozen=True, slots=True)
class Column:
    """`kind` is String, Long, Bool or the type of the entity whose id the column holds."""

    sql: str
    kind: str
    optional: bool = False


@dataclass(frozen=True, slots=True)
class RowType:
    """An entity of the schema that stands for the rows of a table: its attributes by name, and its own id."""

    entity: str
    key: Column
    columns: Mapping[str, Column]


@dataclass(frozen=True, slots=True)
class Condition:
    """SQL without a value in it, and the values by their names."""

    sql: str
    values: Mapping[str, Any]

    @property
    def never(self) -> bool:
        return self.sql == FALSE


TRUE, FALSE = "TRUE", "FALSE"


@dataclass(frozen=True, slots=True)
class _Value:
    kind: str
    value: Any


Term = Column | _Value


@dataclass(slots=True)
class _Translation:
    row: RowType
    values: dict[str, Any] = field(default_factory=dict)

    def boolean(self, node: Any) -> str:
        operator, operands = _only(node)
        if operator not in OPERATORS:
            raise Untranslatable(f"the operator {operator}")
        return OPERATORS[operator](self, operands)

    def and_(self, operands: Mapping[str, Any]) -> str:
        return all_of([self.boolean(operands[side]) for side in ("left", "right")])

    def or_(self, operands: Mapping[str, Any]) -> str:
        return any_of([self.boolean(operands[side]) for side in ("left", "right")])

    def not_(self, operands: Mapping[str, Any]) -> str:
        return negated(self.boolean(operands["arg"]))

    def choice(self, operands: Mapping[str, Any]) -> str:
        chosen, then, otherwise = (self.boolean(operands[part]) for part in ("if", "then", "else"))
        return any_of([all_of([chosen, then]), all_of([negated(chosen), otherwise])])

    def constant(self, value: Any) -> str:
        if not isinstance(value, bool):
            raise Untranslatable("a condition that is not a truth value")
        return TRUE if value else FALSE

    def equal(self, operands: Mapping[str, Any]) -> str:
        return self._same(self._term(operands["left"]), self._term(operands["right"]))

    def unequal(self, operands: Mapping[str, Any]) -> str:
        return negated(self.equal(operands))

    def less(self, operands: Mapping[str, Any]) -> str:
        return self._ordered("<", operands)

    def at_most(self, operands: Mapping[str, Any]) -> str:
        return self._ordered("<=", operands)

    def more(self, operands: Mapping[str, Any]) -> str:
        return self._ordered(">", operands)

    def at_least(self, operands: Mapping[str, Any]) -> str:
        return self._ordered(">=", operands)

    def contains(self, operands: Mapping[str, Any]) -> str:
        item = self._term(operands["right"])
        return any_of([self._same(one, item) for one in self._set(operands["left"])])

    def flag(self, operands: Mapping[str, Any]) -> str:
        term = self._term({".": operands})
        if term.kind != BOOL:
            raise Untranslatable("a condition that is not a truth value")
        return self._sql(term)

    def has(self, operands: Mapping[str, Any]) -> str:
        if operands["left"] != RESOURCE:
            raise Untranslatable("has, of something else than the row")
        column = self.row.columns.get(operands["attr"])
        if column is None:
            return FALSE
        return f"({column.sql} IS NOT NULL)" if column.optional else TRUE

    def is_(self, operands: Mapping[str, Any]) -> str:
        if operands["left"] != RESOURCE or "in" in operands:
            raise Untranslatable("is, of something else than the row")
        return TRUE if operands["entity_type"] == self.row.entity else FALSE

    def _same(self, left: Term, right: Term) -> str:
        """Cedar's `==` of two kinds is false and no error."""
        if left.kind != right.kind:
            return FALSE
        if isinstance(left, _Value) and isinstance(right, _Value):
            return TRUE if left.value == right.value else FALSE
        return f"({self._sql(left)} = {self._sql(right)})"

    def _ordered(self, operator: str, operands: Mapping[str, Any]) -> str:
        left, right = self._term(operands["left"]), self._term(operands["right"])
        if (left.kind, right.kind) != (LONG, LONG):
            raise Untranslatable("an order of what are no numbers")
        return f"({self._sql(left)} {operator} {self._sql(right)})"

    def _term(self, node: Any) -> Term:
        if node == RESOURCE:
            return self.row.key
        operator, operands = _only(node)
        if operator == "." and operands["left"] == RESOURCE:
            column = self.row.columns.get(operands["attr"])
            if column is None:
                raise Untranslatable(f"the attribute {operands['attr']}")
            return column
        if operator == "Value":
            return _value(operands)
        raise Untranslatable(f"a term made with {operator}")

    def _set(self, node: Any) -> Sequence[Term]:
        operator, operands = _only(node)
        if operator == "Set":
            return [self._term(item) for item in operands]
        if operator == "Value" and isinstance(operands, list):
            return [_value(item) for item in operands]
        raise Untranslatable(f"a set made with {operator}")

    def _sql(self, term: Term) -> str:
        if isinstance(term, Column):
            return term.sql
        name = f"given_{len(self.values)}"
        self.values[name] = term.value
        return f"CAST(:{name} AS {CAST_TO.get(term.kind, 'text')})"


OPERATORS: Final[Mapping[str, Callable[[_Translation, Any], str]]] = {
    "&&": _Translation.and_,
    "||": _Translation.or_,
    "!": _Translation.not_,
    "if-then-else": _Translation.choice,
    "Value": _Translation.constant,
    ".": _Translation.flag,
    "has": _Translation.has,
    "is": _Translation.is_,
    "==": _Translation.equal,
    "!=": _Translation.unequal,
    "<": _Translation.less,
    "<=": _Translation.at_most,
    ">": _Translation.more,
    ">=": _Translation.at_least,
    "contains": _Translation.contains,
}
"""By their names in Cedar's JSON policy format."""


def condition_of(residuals: Mapping[str, Any], row: RowType) -> Condition:
    """Some permit holds and no forbid does. Raises Untranslatable."""
    translation = _Translation(row)
    held: dict[str, list[str]] = {"permit": [], "forbid": []}
    for policy in residuals.values():
        if any(policy[part] != {"op": "All"} for part in ("principal", "action", "resource")):
            raise Untranslatable("a policy's head that was not filled in")
        parts = [_part(translation, condition) for condition in policy["conditions"]]
        held[policy["effect"]].append(all_of(parts))
    return Condition(all_of([any_of(held["permit"]), negated(any_of(held["forbid"]))]), translation.values)


def _part(translation: _Translation, condition: Mapping[str, Any]) -> str:
    held = translation.boolean(condition["body"])
    return {"when": _itself, "unless": negated}[condition["kind"]](held)


def _itself(sql: str) -> str:
    return sql


def all_of(parts: Sequence[str]) -> str:
    if FALSE in parts:
        return FALSE
    left = [part for part in parts if part != TRUE]
    return f"({' AND '.join(left)})" if left else TRUE


def any_of(parts: Sequence[str]) -> str:
    if TRUE in parts:
        return TRUE
    left = [part for part in parts if part != FALSE]
    return f"({' OR '.join(left)})" if left else FALSE


def negated(part: str) -> str:
    return {TRUE: FALSE, FALSE: TRUE}.get(part, f"(NOT {part})")


def _only(node: Any) -> tuple[str, Any]:
    if not isinstance(node, dict) or len(node) != 1:
        raise Untranslatable("a node that is no single operator")
    ((operator, operands),) = node.items()
    return operator, operands


def _value(value: Any) -> _Value:
    if isinstance(value, bool):
        return _Value(BOOL, value)
    if isinstance(value, int):
        return _Value(LONG, value)
    if isinstance(value, str):
        return _Value(TEXT, value)
    if isinstance(value, dict) and value.keys() == {"__entity"}:
        return _Value(value["__entity"]["type"], value["__entity"]["id"])
    raise Untranslatable("a value of another kind")
