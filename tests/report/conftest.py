"""A headless Chromium, driven over the pipe of its own debugging protocol."""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(
    filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None
)


class Page:
    """The page of a browser that is started for it; close it in the end."""

    def __init__(self, folder: Path) -> None:
        commands_out, commands_in = os.pipe()
        answers_out, answers_in = os.pipe()

        def connect() -> None:  # the browser reads from 3 and writes to 4
            os.dup2(commands_out, 103)
            os.dup2(answers_in, 104)
            os.dup2(103, 3)
            os.dup2(104, 4)

        self.process = subprocess.Popen(
            [
                CHROMIUM, '--headless=new', '--no-sandbox', '--disable-gpu',
                '--disable-dev-shm-usage', '--no-first-run', '--disable-background-networking',
                '--host-resolver-rules=MAP * ~NOTFOUND', f'--user-data-dir={folder}',
                '--remote-debugging-pipe', 'about:blank',
            ],
            preexec_fn=connect, close_fds=False, stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(commands_out)
        os.close(answers_in)
        self.to, self.answers = os.fdopen(commands_in, 'wb', 0), os.fdopen(answers_out, 'rb', 0)
        self.rest, self.count, self.session = b'', 0, None
        self.errors: list[str] = []
        self.requests: list[str] = []
        (target,) = [
            t for t in self.call('Target.getTargets')['targetInfos'] if t['type'] == 'page'
        ]
        attached = self.call('Target.attachToTarget', targetId=target['targetId'], flatten=True)
        self.session = attached['sessionId']
        for domain in ('Runtime', 'Log', 'Network', 'Page'):
            self.call(f'{domain}.enable')

    def call(self, method: str, **params: object) -> dict[str, Any]:
        """The answer to a command of the protocol."""
        self.count += 1
        message = dict(id=self.count, method=method, params=params)
        if self.session:
            message['sessionId'] = self.session
        self.to.write(json.dumps(message).encode() + b'\0')
        while True:
            answer = self._read()
            if answer.get('id') == self.count:
                assert 'error' not in answer, answer
                return answer['result']

    def open(self, url: str, width: int = 1200, height: int = 900, phone: bool = False) -> None:
        """Load a page into a window of that size and wait until it is there."""
        self.call(
            'Emulation.setDeviceMetricsOverride',
            width=width, height=height, deviceScaleFactor=2 if phone else 1, mobile=phone,
        )  # fmt: skip
        self.errors.clear()
        self.requests.clear()
        self.call('Page.navigate', url=url)
        while self.run('document.readyState') != 'complete':
            pass

    def run(self, code: str) -> Any:
        """The value of an expression of JavaScript."""
        answer = self.call('Runtime.evaluate', expression=code, returnByValue=True)
        assert 'exceptionDetails' not in answer, answer['exceptionDetails']
        return answer['result'].get('value')

    def box(self, selector: str) -> dict[str, float]:
        """Where an element is in the window, after it was scrolled there: x, y, width, height."""
        node = f'document.querySelector({json.dumps(selector)})'
        self.run(f'{node}.scrollIntoView({{block: "center", behavior: "instant"}})')
        return self.run(f'JSON.parse(JSON.stringify({node}.getBoundingClientRect()))')

    def press(self, key: str) -> None:
        """A key of the keyboard, down and up."""
        for kind in ('keyDown', 'keyUp'):
            self.call('Input.dispatchKeyEvent', type=kind, key=key, code=key)

    def mouse(self, kind: str, x: float, y: float) -> None:
        """``mouseMoved``, ``mousePressed`` or ``mouseReleased`` at a place of the window."""
        self.call(
            'Input.dispatchMouseEvent', type=kind, x=x, y=y, button='left', buttons=1, clickCount=1
        )

    def screenshot(self, path: Path) -> None:
        """Write the whole page as a PNG."""
        answer = self.call('Page.captureScreenshot', captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(answer['data']))

    def close(self) -> None:
        """End the browser."""
        self.process.terminate()
        self.process.wait(20)
        self.to.close()
        self.answers.close()

    def _read(self) -> dict[str, Any]:
        while b'\0' not in self.rest:
            part = os.read(self.answers.fileno(), 65536)
            assert part, 'the browser ended'
            self.rest += part
        text, self.rest = self.rest.split(b'\0', 1)
        message = json.loads(text)
        method, params = message.get('method', ''), message.get('params', {})
        if method == 'Runtime.exceptionThrown':
            self.errors.append(params['exceptionDetails']['text'])
        elif method == 'Runtime.consoleAPICalled' and params['type'] in ('error', 'warning'):
            self.errors.append(str(params['args']))
        elif method == 'Log.entryAdded' and params['entry']['level'] == 'error':
            self.errors.append(params['entry']['text'])
        elif method == 'Network.requestWillBeSent':
            self.requests.append(params['request']['url'])
        return message


@pytest.fixture(scope='module')
def page(tmp_path_factory) -> Iterator[Page]:
    """A browser's page, to open files in."""
    if CHROMIUM is None:
        pytest.skip('needs Chromium or Chrome on the PATH')
    page = Page(tmp_path_factory.mktemp('browser'))
    yield page
    page.close()
