//! A region loses the backbone.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::cluster::{Cluster, NODES};
use super::engine::docker;
use super::load::{self, Loads, Plan, RATE};
use super::stage::Stage;
use tidings::testkit::figures::{Figures, choose};
use tidings::testkit::wait::wait_until;

/// The nodes of the region. Without the backbone they do not even reach each other.
const CUT: [&str; 2] = ["eu-1", "eu-2"];
/// All copies have to be equal after this time.
const EQUAL: Duration = Duration::from_secs(30);

/// `docker network disconnect` and `connect`, under load in all regions.
pub fn a_region_without_the_backbone(stage: &Stage) {
    stage.with(|cluster| {
        let seconds = choose(10, 60);
        let plan = Plan {
            rate: choose(RATE[0], RATE[1]),
            seconds: seconds + 2,
            at: &NODES,
            verify_at: &NODES,
            // After the repair, as all clients ask also for the peers of the other side of the cut.
            verify_after: choose(60, EQUAL.as_secs() + 2),
            failover: false,
        };
        let loads = Loads::start(cluster, &plan);
        sleep(Duration::from_secs(2));
        for node in CUT {
            docker(&["network", "disconnect", &cluster.network("backbone"), &cluster.container(node)]);
        }
        let cut = Instant::now();
        wait_until("the other nodes see the region down", || is_down(cluster));
        sleep(Duration::from_secs(seconds).saturating_sub(cut.elapsed()));
        for node in CUT {
            let (ip, container) = (cluster.backbone(node).to_string(), cluster.container(node));
            docker(&["network", "connect", "--ip", &ip, &cluster.network("backbone"), &container]);
        }
        let healed = Instant::now();
        let all = || NODES.map(|node| cluster.holds(node));
        println!("just after the cut: {:?}", all());
        let are_equal = |all: &[Option<Vec<String>>]| all.iter().all(|it| it.is_some() && *it == all[0]);
        wait_until("all copies are equal", || are_equal(&all()));
        let took = healed.elapsed();
        let mut figures = Figures::default();
        load::judge(&mut figures, &format!("{seconds} s without the backbone"), &loads.finish(), None);
        figures.within("all copies equal after reconnecting", took, EQUAL);
        cluster.wait_ready();
        figures.verdict();
    });
}

/// Whether a node on the other side sees all nodes of the region down.
fn is_down(cluster: &Cluster) -> bool {
    let status = cluster.status("us-1").expect("it is on the backbone");
    let members = status["members"].as_array().unwrap().iter();
    members.filter(|member| member["region"] == "eu").all(|member| member["state"] != "up")
}
