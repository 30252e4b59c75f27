"""Run passgate as ``python -m passgate``."""

from passgate.cli.main import main

raise SystemExit(main())
