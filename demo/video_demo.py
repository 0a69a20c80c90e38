"""Restore a video and draw into it what is recognised, at the same frame rate."""

from mmsr4ir.cli.video_demo import main

if __name__ == '__main__':
    main()
