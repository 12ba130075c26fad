"""Compares the committed descriptors with what protoc makes of the .proto files.   usage: descriptors.py PROTOS"""
import pathlib
import sys
import tempfile

import grpc_tools
from google.protobuf import descriptor_pb2
from grpc_tools import protoc

protos = pathlib.Path(sys.argv[1])


def files(binary):
    found = {}
    for file in descriptor_pb2.FileDescriptorSet.FromString(binary).file:
        file.ClearField("source_code_info")
        found[file.name] = file
    return found


with tempfile.TemporaryDirectory() as folder:
    made = f"{folder}/made"
    sources = sorted(str(path.relative_to(protos)) for path in protos.rglob("*.proto"))
    # Google's own files come with the compiler.
    own = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    code = protoc.main(["", f"-I{protos}", f"-I{own}", "--include_imports", f"--descriptor_set_out={made}", *sources])
    assert code == 0, code
    expected = files(pathlib.Path(made).read_bytes())
committed = files((protos / "generated/descriptors.bin").read_bytes())
assert committed.keys() == expected.keys(), committed.keys() ^ expected.keys()
for name, file in expected.items():
    # Google's files differ in options and comments by the compiler's version.
    if not name.startswith("google/"):
        assert committed[name] == file, f"{name}: run `make proto`\n{committed[name]}\n{file}"
print("the same")
