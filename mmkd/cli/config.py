"""Print a config with everything it inherits, after ``--cfg-options``."""

from mmkd.cli.arguments import config_parser, load_config_from_args


def main() -> None:
    args = config_parser(__doc__).parse_args()
    print(load_config_from_args(args).pretty_text)
