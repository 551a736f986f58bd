"""Walk over the nodes of an ONNX graph, those inside branches and loops included."""

from __future__ import annotations

from collections.abc import Iterator

import onnx


def inner_graphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Yield the graphs inside a node: branches of an If, bodies of loops."""
    for attribute in node.attribute:
        yield from (attribute.g, *attribute.graphs)


def with_inner_nodes(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """Yield the node, then the nodes of the graphs inside it, at any depth."""
    yield node
    for graph in inner_graphs(node):
        yield from nodes_of(graph)


def nodes_of(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of a graph and of the graphs inside them, at any depth."""
    for node in graph.node:
        yield from with_inner_nodes(node)
