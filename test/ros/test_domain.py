# SPDX-License-Identifier: Apache-2.0
"""A ROS domain to itself."""

from __future__ import annotations

import socket

from selfocc_ros.ros.domain import DOMAINS, environment, own_domain


def test_two_sessions_get_two_domains_and_give_them_back():
    with own_domain() as one, own_domain() as other:
        assert one != other
        assert {one, other} <= set(DOMAINS)
    with own_domain() as again:
        assert again == one


def test_a_domain_in_which_somebody_speaks_is_passed_over():
    with own_domain() as domain:
        pass
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as participant:
        participant.bind(("", 7400 + 250 * domain + 10))
        with own_domain() as other:
            assert other != domain


def test_the_environment_keeps_to_loopback_in_both_spellings():
    assert environment(7) == {
        "ROS_DOMAIN_ID": "7",
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "ROS_LOCALHOST_ONLY": "1",
    }
