"""Makes a company that can take supplier invoices in an empty Tryton database.

Usage: setup.py DATABASE CONFIG-FILE

The user "ferry", whose password is "practice-only-4711", has the group that the page
on Tryton names, and no other.
"""
import datetime
import os
import sys

# The tools below live beside tests, which want to know a database.
os.environ.setdefault('DB_NAME', ':memory:')

from proteus import Model, config

from trytond.modules.account.tests.tools import (
    create_chart, create_fiscalyear, get_accounts)
from trytond.modules.account_invoice.tests.tools import (
    set_fiscalyear_invoice_sequences)
from trytond.modules.company.tests.tools import create_company, get_company
from trytond.modules.currency.tests.tools import get_currency

database, config_file = sys.argv[1:]
config.set_trytond(database, config_file=config_file)

create_company(currency=get_currency('EUR'))
company = get_company()
create_chart(company)
# The years of invoices that tests bring, also those of last year.
this_year = datetime.date.today().year
for year in range(2017, this_year + 2):
    fiscalyear = set_fiscalyear_invoice_sequences(
        create_fiscalyear(company, datetime.date(year, 1, 1)))
    fiscalyear.click('create_period')

expense = get_accounts(company)['expense']
expense.code = '4000'
expense.save()
for code, name in [('S-1', 'Hafenlicht AG'), ('S-2', 'Repslagaren AB')]:
    Party = Model.get('party.party')
    Party(code=code, name=name).save()

Group, User = Model.get('res.group'), Model.get('res.user')
user = User(name='Ferry', login='ferry')
user.groups.append(Group.find([('name', '=', 'Account')])[0])
user.companies.append(company)
user.company = company
user.save()
User.write([user.id], {'password': 'practice-only-4711'}, config.get_config().context)

print('company', company.id, 'expense account', expense.id)
