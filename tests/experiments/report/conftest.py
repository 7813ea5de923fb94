"""A headless Chromium, driven by Selenium."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(
    filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None
)
CHROMEDRIVER = shutil.which('chromedriver')


class Page:
    """The page of a browser that is started for it. Close it in the end."""

    def __init__(self, folder: Path) -> None:
        webdriver = pytest.importorskip('selenium.webdriver')
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for argument in (
            '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage',
            '--no-first-run', '--disable-background-networking',
            '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost', f'--user-data-dir={folder}',
        ):  # fmt: skip
            options.add_argument(argument)
        options.set_capability('goog:loggingPrefs', {'browser': 'ALL', 'performance': 'ALL'})
        self.driver = webdriver.Chrome(
            options=options, service=webdriver.ChromeService(CHROMEDRIVER)
        )
        self.driver.get('about:blank')  # the page for new tabs makes requests

    def open(self, url: str, width: int = 1200, height: int = 900, phone: bool = False) -> None:
        """Load a page into a window of that size and wait until it is there."""
        size = dict(width=width, height=height, deviceScaleFactor=2 if phone else 1, mobile=phone)
        self.driver.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', size)
        for log in ('browser', 'performance'):
            self.driver.get_log(log)  # which empties it
        self.driver.get(url)

    def run(self, code: str) -> Any:
        """Return the value of an expression of JavaScript."""
        # Unlike a script of WebDriver's, this passes the page's Content-Security-Policy.
        answer = self.driver.execute_cdp_cmd(
            'Runtime.evaluate', dict(expression=code, returnByValue=True)
        )
        assert 'exceptionDetails' not in answer, answer['exceptionDetails']
        return answer['result'].get('value')

    def box(self, selector: str) -> dict[str, float]:
        """Scroll an element into the window and return its x, y, width and height there."""
        node = f'document.querySelector({json.dumps(selector)})'
        self.run(f'{node}.scrollIntoView({{block: "center", behavior: "instant"}})')
        return self.run(f'JSON.parse(JSON.stringify({node}.getBoundingClientRect()))')

    def press(self, key: str) -> None:
        """Press and release a key, by its name in Selenium's ``Keys``."""
        from selenium.webdriver import ActionChains, Keys

        ActionChains(self.driver).send_keys(getattr(Keys, key)).perform()

    def point(self, x: float, y: float) -> None:
        """Move the mouse to a place of the window."""
        actions = self._mouse()
        actions.pointer_action.move_to_location(round(x), round(y))
        actions.perform()

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press the mouse's button at one place of the window and release it at another."""
        actions = self._mouse()
        actions.pointer_action.move_to_location(*map(round, start)).pointer_down()
        actions.pointer_action.move_to_location(*map(round, end)).pointer_up()
        actions.perform()

    def errors(self) -> list[str]:
        """Return the console's warnings and errors since the page was opened."""
        entries = self.driver.get_log('browser')
        return [entry['message'] for entry in entries if entry['level'] in ('WARNING', 'SEVERE')]

    def requests(self) -> list[str]:
        """Return the addresses that were asked for since the page was opened."""
        messages = [
            json.loads(entry['message'])['message'] for entry in self.driver.get_log('performance')
        ]
        return [
            message['params']['request']['url']
            for message in messages
            if message['method'] == 'Network.requestWillBeSent'
        ]

    def close(self) -> None:
        """End the browser."""
        self.driver.quit()

    def _mouse(self) -> Any:
        from selenium.webdriver.common.actions.action_builder import ActionBuilder

        return ActionBuilder(self.driver, duration=0)


@pytest.fixture(scope='module')
def page(tmp_path_factory) -> Iterator[Page]:
    """Return a browser's page to open files in."""
    if CHROMIUM is None or CHROMEDRIVER is None:
        pytest.skip('needs Chromium or Chrome, and chromedriver, on the PATH')
    page = Page(tmp_path_factory.mktemp('browser'))
    yield page
    page.close()
