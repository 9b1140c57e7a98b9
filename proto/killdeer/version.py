"""The version: hatch reads it from here, and so do the daemons, which need no package metadata to know it."""

VERSION = "0.1.0"
