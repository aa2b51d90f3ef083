"""Payments put into a template's tree when it is compiled (docs/decisions/0016).

Loops pay for all their turns before the first; macros, blocks and recursion when they begin;
comparisons, slices and `~` by what they go through. What pays are filters of the sandbox.
"""

from typing import Any

from jinja2 import nodes
from jinja2.visitor import NodeTransformer

# Filters that no template can name, since a name has no blank.
EACH, ENTER, JOINED = "each item", "enter body", "joined texts"
COMPARED, SLICED = "compared value", "sliced value"
CALL = 8  # steps; a call takes about as long as so many nodes


def _filter(name: str, node: Any, *args: Any) -> nodes.Filter:
    return nodes.Filter(node, name, list(args), [], None, None, lineno=node.lineno)


def weight_of(body: list[nodes.Node]) -> int:
    """Return how many nodes *body* has: about how long it takes."""
    return 4 + sum(1 for node in body for _ in node.find_all(nodes.Node))


class Meter(NodeTransformer):
    """Puts payments into a tree."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802  the name of the node
        """Pay for a loop before it begins; for a recursive one also whenever it goes deeper."""
        body = [*node.body, *([node.test] if node.test else [])]
        weight = nodes.Const(weight_of(body) + (CALL if node.recursive else 0))
        self.generic_visit(node)
        node.iter = _filter(EACH, node.iter, weight.set_lineno(node.lineno))
        if node.recursive:
            node.body.insert(0, nodes.ExprStmt(_filter(ENTER, weight), lineno=node.lineno))
        return node

    def _visit_body(self, node: Any) -> Any:
        """Pay for a body that is rendered whenever something calls for it."""
        weight = nodes.Const(weight_of(node.body)).set_lineno(node.lineno)
        self.generic_visit(node)
        node.body.insert(0, nodes.ExprStmt(_filter(ENTER, weight), lineno=node.lineno))
        return node

    visit_Block = visit_Macro = visit_CallBlock = _visit_body  # noqa: N815

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        """Pay for `~`."""
        self.generic_visit(node)
        return _filter(JOINED, nodes.Tuple(node.nodes, "load", lineno=node.lineno))

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:  # noqa: N802
        """Pay for a comparison; one with what is written in the template costs nothing."""
        self.generic_visit(node)
        left = node.expr
        for operand in node.ops:
            right = operand.expr
            is_bounded = _is_constant(right) or (
                _is_constant(left) and operand.op not in ("in", "notin")
            )
            if not is_bounded:
                operand.expr = _filter(COMPARED, right)
            left = right
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:  # noqa: N802
        """Pay for a slice, which is a copy."""
        self.generic_visit(node)
        return _filter(SLICED, node) if isinstance(node.arg, nodes.Slice) else node


def _is_constant(node: nodes.Expr) -> bool:
    """Return whether the value of *node* is written in the template."""
    if isinstance(node, nodes.List | nodes.Tuple):
        return all(isinstance(item, nodes.Const) for item in node.items)
    return isinstance(node, nodes.Const)
