"""The notebook as marimo runs it: `billhouse notebook`. The parts of the page are in page.py."""

import marimo

app = marimo.App(width="medium", app_title="Billhouse", css_file="style.css")


@app.cell
def _():
    import marimo as mo

    from pipeline.notebook import page

    home = page.home_to_read()
    reports = page.Reports(home)
    parameters = mo.query_params().to_dict()
    get_version, set_version = mo.state(reports.version())
    return get_version, home, mo, page, parameters, reports, set_version


@app.cell
def _(mo):
    clock = mo.ui.refresh(default_interval="15s")
    return (clock,)


@app.cell
def _(clock, reports, set_version, versions):
    clock.value
    if versions[-1] != reports.version():
        versions.append(reports.version())
        set_version(versions[-1])
    return


@app.cell
def _(reports):
    versions = [reports.version()]
    return (versions,)


@app.cell
def _(clock, get_version, home, mo, page, reports):
    is_built = get_version() is not None
    title = page.header(reports, home) if is_built else page.nothing_built(home)
    mo.hstack([title, mo.Html(f'<div class="bh-clock">{clock}</div>')])
    return (is_built,)


@app.cell
def _(mo, page, parameters):
    names = list(page.SECTIONS)
    asked = parameters.get("section")
    sections = mo.ui.tabs(dict.fromkeys(names, ""), value=asked if asked in names else names[0])
    return (sections,)


@app.cell
def _(is_built, mo, sections):
    mo.stop(not is_built)
    sections
    return


@app.cell
def _(get_version, is_built, mo, page, reports):
    mo.stop(not is_built)
    get_version()
    known = page.currencies(reports)
    currency = mo.ui.dropdown(known, value=known[0], label="Currency", allow_select_none=False)
    return currency, known


@app.cell
def _(currency, known, mo):
    mo.stop(len(known) < 2)
    currency
    return


@app.cell
def _(is_built, mo, page, parameters, reports, sections):
    mo.stop(not is_built or sections.value != "Customers")
    customer = page.choose_customer(reports, parameters.get("customer"))
    return (customer,)


@app.cell
def _(customer, get_version, mo, page, reports):
    get_version()
    invoice = page.choose_invoice(reports, customer.value)
    mo.hstack([customer, invoice], justify="start", wrap=True, gap=2)
    return (invoice,)


@app.cell
def _(currency, customer, get_version, invoice, page, reports):
    get_version()
    page.customer(reports, customer.value, invoice.value, currency.value)
    return


@app.cell
def _(currency, get_version, is_built, mo, page, reports, sections):
    mo.stop(not is_built)
    get_version()
    page.section(reports, sections.value, currency.value)
    return


if __name__ == "__main__":
    app.run()
