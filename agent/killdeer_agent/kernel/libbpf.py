"""The little of libbpf that the agent needs, through ctypes: load an object, fill its maps, attach, detach."""

import ctypes
import errno
import os
from ctypes import c_bool, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p

NAMES = ("libbpf.so.1", "libbpf.so.0")
ANY, ARRAY_KEY = 0, b"\0\0\0\0"
KERNEL_TYPES = b"/sys/kernel/btf/vmlinux"

_PROTOTYPES: dict[str, tuple[object, ...]] = {
    # name: result, arguments
    "libbpf_set_print": (c_void_p, c_void_p),
    "libbpf_num_possible_cpus": (c_int,),
    "bpf_object__open_mem": (c_void_p, c_char_p, c_size_t, c_void_p),
    "bpf_object__load": (c_int, c_void_p),
    "bpf_object__close": (None, c_void_p),
    "bpf_object__find_program_by_name": (c_void_p, c_void_p, c_char_p),
    "bpf_object__find_map_by_name": (c_void_p, c_void_p, c_char_p),
    "bpf_program__attach": (c_void_p, c_void_p),
    "bpf_link__destroy": (c_int, c_void_p),
    "bpf_map__fd": (c_int, c_void_p),
    "bpf_map__max_entries": (c_uint32, c_void_p),
    "bpf_map_update_elem": (c_int, c_int, c_char_p, c_char_p, c_uint64),
    "bpf_map_lookup_elem": (c_int, c_int, c_char_p, c_void_p),
    "bpf_map_delete_elem": (c_int, c_int, c_char_p),
    "ring_buffer__new": (c_void_p, c_int, c_void_p, c_void_p, c_void_p),
    "ring_buffer__consume": (c_int, c_void_p),
    "ring_buffer__free": (None, c_void_p),
}


class LibbpfMissing(Exception):
    """Neither libbpf.so.1 nor libbpf.so.0 can be loaded."""


def load_library() -> ctypes.CDLL:
    """libbpf with its prototypes declared, silent on stderr. Raises LibbpfMissing."""
    for name in NAMES:
        try:
            library = ctypes.CDLL(name, use_errno=True)
            break
        except OSError:
            continue
    else:
        raise LibbpfMissing(" and ".join(NAMES))
    if name == "libbpf.so.0":
        library.libbpf_set_strict_mode(c_uint32(0xFFFFFFFF))  # NULL and errno, as libbpf.so.1 does it
    for function, (result, *arguments) in _PROTOTYPES.items():
        declared = getattr(library, function)
        declared.restype = result
        declared.argtypes = arguments
    library.libbpf_set_print(None)
    return library


class OpenOptions(ctypes.Structure):
    """bpf_object_open_opts as far as it is used; libbpf goes by the size."""

    _fields_ = (
        ("size", c_size_t),
        ("object_name", c_char_p),
        ("relaxed_maps", c_bool),
        ("pin_root_path", c_char_p),
        ("removed", c_uint32),
        ("kconfig", c_char_p),
        ("btf_custom_path", c_char_p),
    )


class BpfMap:
    """A map of a loaded object. Keys and values are bytes as the object's BTF lays them out."""

    def __init__(self, library: ctypes.CDLL, handle: int) -> None:
        self._library = library
        self.fd: int = library.bpf_map__fd(handle)
        self.max_entries: int = library.bpf_map__max_entries(handle)

    def put(self, key: bytes, value: bytes) -> None:
        """Raises OSError: E2BIG when the map is full."""
        if self._library.bpf_map_update_elem(self.fd, key, value, ANY):
            raise _last_error("fill a BPF map")

    def drop(self, key: bytes) -> None:
        """Removes the key; that it is not there is fine."""
        if self._library.bpf_map_delete_elem(self.fd, key) and ctypes.get_errno() != errno.ENOENT:
            raise _last_error("empty a BPF map")

    def sums(self) -> list[int]:
        """Of a per-CPU array of 64-bit counters: each slot's, added up over the processors."""
        processors = self._library.libbpf_num_possible_cpus()
        values = (c_uint64 * processors)()
        totals = []
        for slot in range(self.max_entries):
            if self._library.bpf_map_lookup_elem(self.fd, slot.to_bytes(4, "little"), values):
                raise _last_error("read a BPF map")
            totals.append(sum(values))
        return totals


class BpfObject:
    """An object in the kernel, its programs verified. `attach` starts them; `close` takes all away."""

    def __init__(self, library: ctypes.CDLL, image: bytes) -> None:
        """Raises OSError with the kernel's errno where it does not load."""
        self._library = library
        self._links: list[int] = []
        # A type that this kernel lacks (CO-RE asks for some) libbpf would seek in the kernel's modules too, and
        # libbpf 1.1, Debian 12's, fails where it may not: that takes CAP_SYS_ADMIN. A path keeps it to that.
        options = OpenOptions(size=ctypes.sizeof(OpenOptions), btf_custom_path=KERNEL_TYPES)
        self._handle = library.bpf_object__open_mem(image, len(image), ctypes.byref(options))
        if not self._handle:
            raise _last_error("read the BPF object")
        if library.bpf_object__load(self._handle):
            problem = _last_error("load the BPF object")
            self.close()
            raise problem

    def map(self, name: str) -> BpfMap:
        handle = self._library.bpf_object__find_map_by_name(self._handle, name.encode())
        if not handle:
            raise _last_error(f"find the BPF map {name}")
        return BpfMap(self._library, handle)

    def attach(self, name: str) -> None:
        """Starts a program where its section says. Raises OSError; ENOENT: the kernel has no such tracepoint."""
        program = self._library.bpf_object__find_program_by_name(self._handle, name.encode())
        link = program and self._library.bpf_program__attach(program)
        if not link:
            raise _last_error(f"attach the BPF program {name}")
        self._links.append(link)

    def close(self) -> None:
        while self._links:
            self._library.bpf_link__destroy(self._links.pop())
        if self._handle:
            self._library.bpf_object__close(self._handle)
            self._handle = None


def release_memory() -> None:
    """Hands back to the system what reading the kernel's BTF took (some 10 MB), where the C library can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _last_error(verb: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"cannot {verb}: {os.strerror(number)}")


SampleCallback = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p, c_size_t)
