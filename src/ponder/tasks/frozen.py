"""tasks/frozen: how many held-out problems of each family and band an evaluation takes, and their fingerprints."""

from __future__ import annotations

from dataclasses import dataclass

from ponder.core.types import Band


@dataclass(frozen=True, slots=True)
class FrozenSet:
    """One evaluation set; fingerprints are the beginnings of SHA-256 sums of its questions, one a line."""

    count: int
    first: str
    """Of the first twenty problems."""
    whole: str


FROZEN: dict[tuple[str, Band], FrozenSet] = {
    ("arithmetic", "S"): FrozenSet(500, "dd8abafc55a2306a", "ad7607aa87a7a7c6"),
    ("arithmetic", "R"): FrozenSet(500, "d85523dbd04a4487", "519b63b1362f240c"),
    ("arithmetic", "O"): FrozenSet(500, "646cea65acd636a4", "14163983932fbb9f"),
    ("countdown", "S"): FrozenSet(500, "44eb6f18cdac7310", "035bcbcee6f965e7"),
    ("countdown", "R"): FrozenSet(500, "dfbcfcb36d877b0b", "337e4fd3d6331ee7"),
    ("countdown", "O"): FrozenSet(500, "9dbc51a69132ddaf", "a6290dd9e9905ffa"),
    ("equations", "S"): FrozenSet(500, "27f788a0158e7f2c", "c95fb8b8b342cb87"),
    ("equations", "R"): FrozenSet(500, "9d00f53b86296934", "be7668108f0f931d"),
    ("equations", "O"): FrozenSet(500, "1b0c1be486145ca7", "9fc946dc2a11f693"),
    ("stories", "S"): FrozenSet(500, "0009badb437b572e", "57bbcdacea497479"),
    ("stories", "R"): FrozenSet(500, "786de8302fefefa8", "def9b339d3002a75"),
    ("stories", "O"): FrozenSet(500, "aee557b3c9f263af", "3a28dbfc4da646e2"),
    ("graph", "S"): FrozenSet(500, "bad3a7be724329f1", "da0ea88d6159d688"),
    ("graph", "R"): FrozenSet(500, "d7ea58c3eaddccd0", "3670e8635345356e"),
    ("graph", "O"): FrozenSet(500, "e1f96edec7ecbbac", "8c6ad93f59b3b3b0"),
    ("procedures", "S"): FrozenSet(500, "551f63b38ef0f6f2", "6bee61218a3b46e8"),
    ("procedures", "R"): FrozenSet(500, "9010cf6bc72f2dee", "c21a011743c56420"),
    ("procedures", "O"): FrozenSet(500, "3b93ef7319524bb8", "ad77eea920fc91a9"),
    ("decline", "S"): FrozenSet(500, "bf9d9abaa9f9ba22", "3975805928852d6b"),
    ("decline", "R"): FrozenSet(500, "0edec40892bea88e", "f4eefa8aa440a682"),
    ("decline", "O"): FrozenSet(500, "498ccc892187d6de", "036a38ef8fa41b64"),
    ("rationals", "S"): FrozenSet(500, "5fc86480801ccffb", "e4a1f3a0f1b1df3b"),
    ("rationals", "R"): FrozenSet(500, "712cab4ee9786a06", "452dc42a8c9a6787"),
    ("rationals", "O"): FrozenSet(500, "a1b9c430a6399dab", "da4460561c04f3c8"),
    ("systems", "S"): FrozenSet(500, "928d12ddf952c151", "e5c45dc82a880f24"),
    ("systems", "R"): FrozenSet(500, "6d0b48bd358893e4", "555e508c280d0e20"),
    ("systems", "O"): FrozenSet(500, "14b22930d682060f", "98b1c5b73a7e3a6c"),
    ("measures", "S"): FrozenSet(500, "dd511161ab29198f", "7118232ff338ec25"),
    ("measures", "R"): FrozenSet(500, "59b3c45b6984f30c", "530d034a65c75d58"),
    ("measures", "O"): FrozenSet(500, "fe8ec6f81f21e232", "7136304bd8756508"),
    ("logic", "S"): FrozenSet(500, "dcec0a59d884815e", "0d7bf0b53c51f0b6"),
    ("logic", "R"): FrozenSet(500, "13ac37c11d080213", "917ba5fe5af1639e"),
    ("logic", "O"): FrozenSet(500, "11e8015c8df92f39", "1451ef8c8580e095"),
    ("compositions", "S"): FrozenSet(500, "c2a5870a2cecc8f7", "b8d83a5fbb2d19a7"),
    ("compositions", "R"): FrozenSet(500, "6c06fe75bf2df479", "d5921f2cd4d29ff0"),
    ("compositions", "O"): FrozenSet(500, "c8dc170854930b29", "8721bcec20190c3b"),
    ("reading", "S"): FrozenSet(500, "c252c8d399726a9b", "82c617b9ecdf2bc9"),
    ("reading", "R"): FrozenSet(500, "1cda5701f7de63f4", "f31c115e9418324c"),
    ("reading", "O"): FrozenSet(500, "9e4f06c8216520d0", "270c96e3f7838792"),
    ("formats", "S"): FrozenSet(500, "0ac4b3f73a96dce0", "05de5f4d21c49d5d"),
    ("formats", "R"): FrozenSet(500, "ae7bb9f486b26dda", "2870ee62bb45d746"),
    ("formats", "O"): FrozenSet(500, "e0e0beb8a519b39a", "8f9e80e2e246d45a"),
    ("tools", "S"): FrozenSet(500, "0c67bb1d4ff859d4", "d11b8b0da28dd3ef"),
    ("tools", "R"): FrozenSet(500, "e8b00b3ff1562aec", "da5a9840c753a395"),
    ("tools", "O"): FrozenSet(500, "7eba1e87b070bcee", "35e4c5b68b674614"),
}
"""The sets; a test compares them with what the generators make. `catalogue.freeze` gives an entry."""
