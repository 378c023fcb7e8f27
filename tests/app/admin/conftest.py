from tests.app.console import market_fixtures

vendor, stage = market_fixtures.vendor, market_fixtures.stage
busy_template, empty_template = market_fixtures.busy_template, market_fixtures.empty_template
market, empty_market = market_fixtures.market, market_fixtures.empty_market
